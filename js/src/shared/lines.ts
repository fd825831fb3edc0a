// Lines of a chart, as plain data. It knows no run, no DOM and no canvas.

export interface Line {
  name: string;
  per: "step" | "epoch" | "batch";
  x: number[];
  y: (number | null)[];
  /** Number of the colour. */
  color: number;
  /** Whether it stands faintly behind the others. */
  isBehind?: boolean;
  /** Whether it stands on an axis of its own, at the right. */
  isRight?: boolean;
  /** Where there is a band around the line: its lower and its upper end. */
  low?: (number | null)[];
  high?: (number | null)[];
}

export interface Points {
  x: readonly number[];
  y: readonly (number | null)[];
}

/** How many colours there are; from there on they come again, in dashes. */
export const N_COLORS = 6;

const WIDE = 30; // times the least: on a linear axis the lower values would lie on its ground

/** The lines of the left axis. */
export function leftOf<L extends Line>(lines: readonly L[]): L[] {
  return lines.filter((line) => !line.isRight);
}

/** Whether the values span so much that only a logarithmic axis shows their course. */
export function isWide(lines: readonly Points[]): boolean {
  let low = Infinity;
  let high = 0;
  for (const { y: values } of lines) {
    for (const y of values) {
      if (y === null) continue;
      low = Math.min(low, y);
      high = Math.max(high, y);
    }
  }
  return low > 0 && high > WIDE * low;
}

/** Whether every value can stand on a logarithmic axis. */
export function canBeLog(lines: readonly Points[]): boolean {
  return lines.length > 0 && lines.every((line) => line.y.every((y) => y === null || y > 0));
}

/** Where a logarithmic axis begins and ends: at the first digits of its values, not at whole powers of ten. */
export function logEnds(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || low <= 0) return [1, 10];
  const [down, up] = [low, high].map((end) => 10 ** Math.floor(Math.log10(end))) as [number, number];
  const [first, last] = [Math.floor(low / down + 1e-9) * down, Math.ceil(high / up - 1e-9) * up];
  return [first, last > first ? last : first + down];
}

/** The value of a line at `x`, or the one before it; undefined before its start. */
export function valueAt(line: Points, x: number): number | null | undefined {
  let low = 0;
  let high = line.x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((line.x[middle] ?? 0) <= x) low = middle + 1;
    else high = middle;
  }
  return low ? line.y[low - 1] : undefined;
}
