// Numbers as people read them.

/** Seconds as `0:07`, `12:34` or `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (n: number) => String(n).padStart(2, "0");
  const h = Math.floor(whole / 3600);
  const m = Math.floor(whole / 60) % 60;
  return h ? `${h}:${pad(m)}:${pad(whole % 60)}` : `${m}:${pad(whole % 60)}`;
}

/** A duration in its own unit: `8 ms`, `1.2 s`, `2:05`. */
export function duration(seconds: number): string {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 59.95 ? `${seconds.toFixed(1)} s` : clock(seconds);
}

/** Seconds to go, no finer than an estimate can be: `5 s`, `2 min`, `1 h 20 min`. */
export function estimate(seconds: number): string {
  if (seconds < 9.5) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 57.5) return `${Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

/** A loss or metric in four significant digits; text (`nan`, `inf`) stays as it is. */
export function value(number: number | string): string {
  if (typeof number === "string") return number;
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 1e-4 || size >= 1e6) return number.toExponential(3);
  return size >= 1000 ? String(Math.round(number)) : number.toPrecision(4);
}

/** A place on an axis, as short as it can be: `0.25`, `3e-5`, `2000`; empty where there is none. */
export function tick(number: number | null): string {
  if (number === null) return "";
  const size = Math.abs(number);
  const exact = Number(number.toPrecision(6)); // 0.30000000000000004 is 0.3
  return size !== 0 && (size < 1e-4 || size >= 1e6) ? exact.toExponential().replace("e+", "e") : String(exact);
}

/** How many: `12`, `1,234`. */
export function whole(count: number): string {
  return count.toLocaleString("en-US");
}

/** A speed: `0.25`, `8.3`, `1,234`. */
export function rate(perSecond: number): string {
  if (perSecond >= 100) return whole(Math.round(perSecond));
  return perSecond >= 1 ? perSecond.toFixed(1) : perSecond.toPrecision(2);
}

/** A share of what is to be done: `37%`; empty where it is not known. */
export function percent(share: number | null): string {
  return share === null ? "" : `${Math.floor(share * 100)}%`;
}
