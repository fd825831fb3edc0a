// Draws curves on a canvas with uPlot, in the colours of the page.
// It knows no run: it is handed lines and the end of the axis.
import uPlot from "uplot";
import { isWide, type Curve } from "./curves";

type Table = [xs: number[], ...ys: (number | null | undefined)[][]];

const X_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

export class Chart {
  private plot: uPlot | null = null;
  private key = "";
  private end = 1;

  constructor(
    private readonly host: HTMLElement,
    signal: AbortSignal,
    private readonly onHover: (x: number | null) => void,
  ) {
    const resized = new ResizeObserver(() => this.plot?.setSize(this.size()));
    resized.observe(host);
    const themed = new MutationObserver(() => this.plot?.redraw(false, true));
    themed.observe(document.body, { attributes: true });
    signal.addEventListener("abort", () => {
      resized.disconnect();
      themed.disconnect();
      this.clear();
    });
  }

  clear(): void {
    this.plot?.destroy();
    this.plot = null;
    this.key = "";
  }

  draw(curves: readonly Curve[], end: number): void {
    this.end = end;
    const isLog = isWide(curves);
    const key = [isLog, ...curves.map((curve) => `${curve.per}/${curve.name}/${curve.color}`)].join("\n");
    const data = uPlot.join(curves.map((curve) => [curve.x, curve.y] as Table) as uPlot.AlignedData[]);
    if (this.plot && key === this.key) {
      this.plot.setData(data);
      return;
    }
    this.clear();
    this.key = key;
    this.host.dataset.scale = isLog ? "log" : "";
    this.plot = new uPlot(this.options(curves, isLog), data, this.host);
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(this.host.clientWidth, 80), height: Math.max(this.host.clientHeight, 60) };
  }

  private color(name: string): string {
    return getComputedStyle(this.host).getPropertyValue(name).trim() || "#888";
  }

  private options(curves: readonly Curve[], isLog: boolean): uPlot.Options {
    const font = `11px ${getComputedStyle(this.host).fontFamily || "sans-serif"}`;
    const axis: uPlot.Axis = {
      stroke: () => this.color("--mml-muted"),
      grid: { stroke: () => this.color("--mml-grid"), width: 1 },
      ticks: { show: false },
      font,
      gap: 6,
    };
    return {
      ...this.size(),
      legend: { show: false },
      padding: [8, 12, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false, range: () => [0, this.end] }, y: { distr: isLog ? 3 : 1 } },
      axes: [
        { ...axis, size: 24, incrs: X_STEPS, space: 44, grid: { show: false } },
        { ...axis, size: 48, space: 26, grid: isLog ? { ...axis.grid, filter: onlyPowers } : (axis.grid ?? {}) },
      ],
      series: [{}, ...curves.map((curve) => this.series(curve, curves))],
      hooks: { setCursor: [(plot) => this.onHover(this.hovered(plot))] },
    };
  }

  private series(curve: Curve, all: readonly Curve[]): uPlot.Series {
    const isFaint = curve.per === "step" && all.some((other) => other.per === "epoch" && other.name === curve.name);
    const stroke = () => this.color(`--mml-series-${(curve.color % 6) + 1}`);
    return {
      stroke,
      width: curve.per === "step" ? 1.25 : 2,
      alpha: isFaint ? 0.45 : 1,
      points: {
        show: (plot, index) => curve.per === "epoch" && countOf(plot.data[index] ?? []) <= 30,
        size: 5,
        fill: stroke,
      },
    };
  }

  private hovered(plot: uPlot): number | null {
    const { left, idx } = plot.cursor;
    return left === undefined || left < 0 || idx == null ? null : (plot.data[0][idx] ?? null);
  }
}

/** Of the lines of a logarithmic axis those at powers of ten. */
function onlyPowers(_: uPlot, splits: number[]): (number | null)[] {
  return splits.map((value) => (Math.abs(Math.log10(value) % 1) < 1e-6 ? value : null));
}

function countOf(values: ArrayLike<number | null | undefined>): number {
  let n = 0;
  for (let i = 0; i < values.length; i++) if (values[i] != null) n++;
  return n;
}
