// The drawing of curves, which a page loads once, however many widgets are on it.
import type { Chart } from "./chart";
import { slot } from "./slot";

export type ChartClass = new (...args: ConstructorParameters<typeof Chart>) => Chart;

declare const LIBRARY_VERSION: string;

const chart = () => slot<ChartClass>(`modularml.chart/${LIBRARY_VERSION}`);

/** Makes the library known to the page. */
export function provideChart(given: ChartClass): void {
  chart().provide(given);
}

/** Waits until the page has the library. */
export function loadChart(): Promise<ChartClass> {
  return chart().promise;
}
