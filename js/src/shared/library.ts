// What a page loads once, however many widgets are on it: the drawing of curves.
// A widget bundle is a module of its own that can import no other, so the library
// leaves its exports where every bundle of the same build finds them.
import type { Chart } from "./chart";

export type ChartClass = new (...args: ConstructorParameters<typeof Chart>) => Chart;

interface Slot {
  promise: Promise<ChartClass>;
  provide(given: ChartClass): void;
}

declare const LIBRARY_VERSION: string;

function slot(): Slot {
  const page = globalThis as unknown as Record<symbol, Slot | undefined>;
  const key = Symbol.for(`modularml.chart/${LIBRARY_VERSION}`);
  const found = page[key];
  if (found) return found;
  let provide: Slot["provide"] = () => undefined;
  const promise = new Promise<ChartClass>((resolve) => (provide = resolve));
  return (page[key] = { promise, provide });
}

/** Makes the library known to the page. */
export function provideChart(given: ChartClass): void {
  slot().provide(given);
}

/** Waits until the page has the library. */
export function loadChart(): Promise<ChartClass> {
  return slot().promise;
}
