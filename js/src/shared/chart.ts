// Draws lines on a canvas with uPlot, in the colours of the page.
// It knows no run: it is handed lines and the ends of the axis.
import uPlot from "uplot";
import { tick } from "./format";
import { isWide, logEnds, N_COLORS, type Line } from "./lines";

type Table = [xs: number[], ...ys: (number | null | undefined)[][]];

interface Options {
  /** Told where the mouse is, in units of the axis; null when it left. */
  onHover?: (x: number | null) => void;
  /** Charts of one group show the same place. */
  sync?: string;
}

const X_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];

export class Chart {
  private plot: uPlot | null = null;
  private key = "";
  private ends: [number, number] = [0, 1];
  private mark: number | null = null;

  constructor(
    private readonly host: HTMLElement,
    signal: AbortSignal,
    private readonly given: Options = {},
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

  /**
   * Draws lines over an axis from `start` to `end`, and an upright one at `mark`; `isLog` is
   * told by the values unless it is given.
   */
  draw(lines: readonly Line[], start: number, end: number, isLog = isWide(lines), mark: number | null = null): void {
    this.mark = mark;
    this.ends = [start, end > start ? end : start + 1];
    const key = [isLog, ...lines.map((line) => `${line.per}/${line.name}/${line.color}/${!!line.low}/${!!line.isBehind}/${!!line.isRight}`)].join("\n");
    const data = uPlot.join(lines.map(tableOf) as uPlot.AlignedData[]);
    if (this.plot && key === this.key) {
      this.plot.setData(data);
      return;
    }
    this.clear();
    this.key = key;
    this.host.dataset.scale = isLog ? "log" : "";
    this.plot = new uPlot(this.options(lines, isLog), data, this.host);
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(this.host.clientWidth, 80), height: Math.max(this.host.clientHeight, 60) };
  }

  private color(name: string): string {
    return getComputedStyle(this.host).getPropertyValue(name).trim() || "#888";
  }

  private options(lines: readonly Line[], isLog: boolean): uPlot.Options {
    const font = `11px ${getComputedStyle(this.host).fontFamily || "sans-serif"}`;
    const axis: uPlot.Axis = {
      stroke: () => this.color("--mml-muted"),
      grid: { stroke: () => this.color("--mml-grid"), width: 1 },
      ticks: { show: false },
      font,
      gap: 6,
    };
    const across: uPlot.Axis = { ...axis, size: 48, space: 26, values: (_, splits) => splits.map(tick) };
    const hasRight = lines.some((line) => line.isRight);
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    for (const line of lines) {
      series.push(this.series(line, lines));
      if (!line.low) continue;
      const at = series.length;
      series.push(...[0, 1].map(() => ({ stroke: "transparent", width: 0, points: { show: false } })));
      bands.push({ series: [at + 1, at], fill: () => translucent(this.stroke(line)) });
    }
    return {
      ...this.size(),
      legend: { show: false },
      padding: [8, hasRight ? 0 : 12, 0, 0],
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 7 },
        ...(this.given.sync ? { sync: { key: this.given.sync, setSeries: false } } : {}),
      },
      scales: { x: { time: false, range: () => this.ends }, y: isLog ? { distr: 3, range: (_, low, high) => logEnds(low, high) } : { distr: 1 } },
      axes: [
        { ...axis, size: 24, incrs: X_STEPS, space: 44, grid: { show: false }, filter: fromOne },
        { ...across, grid: isLog ? { ...axis.grid, filter: onlyPowers } : (axis.grid ?? {}) },
        ...(hasRight ? [{ ...across, scale: "right", side: 1 as const, grid: { show: false } }] : []),
      ],
      series,
      bands,
      hooks: {
        setCursor: [(plot) => this.given.onHover?.(this.hovered(plot))],
        draw: [(plot) => this.drawMark(plot)],
      },
    };
  }

  private drawMark(plot: uPlot): void {
    if (this.mark === null) return;
    const { ctx, bbox } = plot;
    const x = Math.round(plot.valToPos(this.mark, "x", true));
    ctx.save();
    ctx.strokeStyle = this.color("--mml-good");
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  private stroke(line: Line): string {
    return this.color(`--mml-series-${(line.color % N_COLORS) + 1}`);
  }

  private series(line: Line, all: readonly Line[]): uPlot.Series {
    const hasMean = (other: Line) => other.per === "epoch" && other.name === line.name && !other.isBehind;
    const isFaint = line.isBehind || (line.per === "step" && all.some(hasMean));
    const stroke = () => this.stroke(line);
    return {
      scale: line.isRight ? "right" : "y",
      stroke,
      width: line.isBehind ? 1 : line.per === "step" ? 1.25 : 2,
      alpha: isFaint ? 0.45 : 1,
      ...(line.color >= N_COLORS ? { dash: [6, 3] } : {}),
      points: {
        show: (plot, index) => !line.isBehind && line.per !== "step" && countOf(plot.data[index] ?? []) <= 30,
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

/** The columns of a line: its places, its values and, where it has a band, the ends of that. */
function tableOf(line: Line): Table {
  return line.low && line.high ? [line.x, line.y, line.low, line.high] : [line.x, line.y];
}

function translucent(color: string): string {
  return /^#[0-9a-f]{6}$/i.test(color) ? `${color}2b` : "rgb(127 127 127 / 17%)";
}

/** Epochs and batches are counted from 1; at 0 the first one begins. */
function fromOne(_: uPlot, splits: number[]): (number | null)[] {
  return splits.map((value) => (value >= 1 ? value : null));
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
