// A stand-in for anywidget's model that is stricter than the real one: it knows which
// traits there are, hands out frozen copies, refuses what is no JSON, and says which
// listeners were left behind.
import assert from "node:assert/strict";
import type { WidgetModel } from "../src/shared/model";

type Callback = (...args: never[]) => void;

export class FakeModel implements WidgetModel {
  readonly sent: Record<string, unknown>[] = [];
  widget_manager: NonNullable<WidgetModel["widget_manager"]> = {};
  private readonly listeners = new Map<string, Set<Callback>>();

  constructor(private readonly traits: Record<string, unknown>) {}

  get(name: string): unknown {
    assert.ok(name in this.traits, `the model has no trait ${name}`);
    return frozen(this.traits[name]);
  }

  send(content: Record<string, unknown>): void {
    this.sent.push(frozen(content) as Record<string, unknown>);
  }

  on(name: string, callback: Callback): void {
    const callbacks = this.listeners.get(name) ?? new Set();
    assert.ok(!callbacks.has(callback), `the same listener twice on ${name}`);
    this.listeners.set(name, callbacks.add(callback));
  }

  off(name: string, callback: Callback): void {
    assert.ok(this.listeners.get(name)?.delete(callback), `no such listener on ${name}`);
  }

  /** A custom message from Python. */
  receive(content: unknown): void {
    this.trigger("msg:custom", frozen(content), []);
  }

  trigger(name: string, ...args: unknown[]): void {
    for (const callback of [...(this.listeners.get(name) ?? [])]) callback(...(args as never[]));
  }

  get nListeners(): number {
    return [...this.listeners.values()].reduce((n, callbacks) => n + callbacks.size, 0);
  }
}

function frozen(value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(value)) as unknown;
  assert.deepEqual(copy, value, "only JSON crosses the channel");
  return deepFreeze(copy);
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === "object" && value !== null) Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
