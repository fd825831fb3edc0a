// The channel to Python: the whole once, then numbered patches, and actions back.
// It knows nothing of what is shown.

/** The part of anywidget's model that we use. */
export interface WidgetModel {
  get(name: string): unknown;
  send(content: Record<string, unknown>): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
  widget_manager?: { kernel?: { interrupt?(): Promise<unknown> } | null };
}

export interface Numbered {
  seq: number;
}

type Message<P> = { type: "patch" | "snapshot"; patch: P } | { type: string };

/** Binds a listener for as long as `signal` lives. */
export function listen(
  model: WidgetModel,
  name: string,
  signal: AbortSignal,
  callback: (...args: never[]) => void,
): void {
  model.on(name, callback);
  signal.addEventListener("abort", () => model.off(name, callback), { once: true });
}

/**
 * Hands `apply` the whole, then each patch in order. A patch that was lost is asked
 * for: the rest is shown meanwhile, since a busy kernel may answer late.
 */
export function subscribe<P extends Numbered>(
  model: WidgetModel,
  signal: AbortSignal,
  apply: (patch: P, isWhole: boolean) => void,
): void {
  let seq = -1;
  let resyncing = false;
  const take = (patch: P, isWhole: boolean) => {
    seq = patch.seq;
    apply(patch, isWhole);
  };
  const receive = (message: Message<P>) => {
    if (!("patch" in message)) return;
    const { patch } = message;
    if (message.type === "snapshot") {
      resyncing = false;
      if (patch.seq >= seq) take(patch, true);
    } else if (patch.seq > seq) {
      if (patch.seq > seq + 1 && !resyncing) {
        resyncing = true;
        model.send({ type: "resync" });
      }
      take(patch, false);
    }
  };
  take(model.get("snapshot") as P, true);
  listen(model, "msg:custom", signal, receive as (...args: never[]) => void);
}
