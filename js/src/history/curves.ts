// The curves of the picked runs over each other: one chart for each loss and metric.
import { element, setAttribute, setText, sync } from "../shared/dom";
import { value } from "../shared/format";
import type { Chart } from "../shared/chart";
import { loadChart, type ChartClass } from "../shared/library";
import { valueAt, type Line } from "../shared/lines";
import type { Book, Curve, Row } from "./book";

const MAX_CHARTS = 12;

export interface Picked {
  row: Row;
  color: number;
}

interface Plot {
  root: HTMLElement;
  title: Element;
  readout: Element;
  host: HTMLElement;
  chart: Chart;
  lines: Line[];
}

export class Curves {
  readonly root = element("div", { class: "mml-charts" });
  private readonly plots: Plot[] = [];
  private Chart: ChartClass | null = null;
  private readonly group = `modularml-${Math.random().toString(36).slice(2)}`;

  constructor(
    private readonly book: Book,
    private readonly signal: AbortSignal,
    onReady: () => void,
  ) {
    void loadChart().then((Chart) => {
      this.Chart = Chart;
      if (!signal.aborted) onReady();
    });
  }

  /** Draws what the runs have; returns whether that is anything. */
  update(picked: readonly Picked[]): boolean {
    const byKey = new Map<number, Line[]>();
    for (const { row, color } of picked) {
      for (const curve of this.book.details.get(row.id)?.curves ?? []) {
        if (curve.x.length < 2 && !picked.some((one) => this.isLong(one, curve.key))) continue;
        byKey.set(curve.key, [...(byKey.get(curve.key) ?? []), lineOf(curve, this.book.titleOf(row), color)]);
      }
    }
    const keys = [...byKey.keys()].sort((a, b) => a - b).slice(0, MAX_CHARTS);
    while (this.plots.length > keys.length) this.remove();
    while (this.Chart && this.plots.length < keys.length) this.add(this.Chart);
    keys.forEach((key, i) => {
      const plot = this.plots[i];
      if (plot) this.draw(plot, this.book.nameOf(key), byKey.get(key) ?? []);
    });
    return keys.length > 0;
  }

  private isLong({ row }: Picked, key: number): boolean {
    return (this.book.details.get(row.id)?.curves ?? []).some((curve) => curve.key === key && curve.x.length > 1);
  }

  private add(Chart: ChartClass): void {
    const title = element("strong");
    const readout = element("span", { class: "mml-readout" });
    const host = element("div", { class: "mml-chart", role: "img" });
    const root = element("figure", {}, element("figcaption", {}, title, " ", readout), host);
    this.root.append(root);
    const chart = new Chart(host, this.signal, { onHover: (x) => this.tell(x), sync: this.group });
    this.plots.push({ root, title, readout, host, chart, lines: [] });
  }

  private remove(): void {
    const plot = this.plots.pop();
    plot?.chart.clear();
    plot?.root.remove();
  }

  private draw(plot: Plot, name: string, lines: Line[]): void {
    plot.lines = lines;
    setText(plot.title, name);
    setAttribute(plot.host, "data-unit", lines[0]?.per ?? null);
    const last = lines.map((line) => `${line.name}: ${value(line.y.findLast((y) => y !== null) ?? 0)}`);
    setAttribute(plot.host, "aria-label", `Curves of ${name}; last values ${last.join(", ")}`);
    const ends = lines.map((line) => line.x.at(-1) ?? 1);
    plot.chart.draw(lines, Math.min(...lines.map((line) => line.x[0] ?? 0)), Math.max(...ends));
  }

  private tell(x: number | null): void {
    for (const { readout, lines } of this.plots) {
      const told = x === null ? [] : lines.map((line) => [line, valueAt(line, x)] as const).filter(([, y]) => y != null);
      sync(readout, x === null ? [] : [null, ...told], () => element("span"), (item, given) => {
        setText(item, given ? value(given[1] as number) : `${lines[0]?.per ?? ""} ${Math.round(x ?? 0)}`);
        item.style.setProperty("--mml-color", given ? `var(--mml-series-${(given[0].color % 6) + 1})` : "transparent");
      });
    }
  }
}

function lineOf(curve: Curve, name: string, color: number): Line {
  const band = curve.low && curve.high ? { low: curve.low, high: curve.high } : {};
  return { name, color, per: curve.per, x: curve.x, y: curve.y, ...band };
}
