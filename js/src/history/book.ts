// The runs as the browser knows them: rows of a table, and details of those that were asked for.
// It knows no DOM. Details come from a kernel or lie in the page.
import { listen, subscribe, type Numbered, type WidgetModel } from "../shared/model";
import type { Status } from "../shared/status";

export interface Row {
  id: string;
  source: number;
  n: number;
  label: string;
  status: Status;
  error: string | null;
  started: number;
  duration: number;
  seed: string;
  /** Which of its results no longer come from what there is now, and why. */
  stale: string[];
  changed: string;
  nChanged: number | null;
  final: Record<string, number | string>;
}

export interface Curve {
  key: number;
  per: "epoch" | "batch";
  n: number;
  x: number[];
  y: (number | null)[];
  low?: (number | null)[];
  high?: (number | null)[];
  least: number | null;
  greatest: number | null;
  last: number | string;
  best: [number, number] | null;
}

export interface Detail {
  id: string;
  status: Status;
  phases: { path: string; kind: string; status: Status; duration_s: number }[];
  curves: Curve[];
  changes: [string, string | null, string | null][] | null;
  config: number | null;
  metadata: Record<string, string>;
  checkpoints: string[];
  folds: number;
}

export type Key = [phase: string, name: string, goal: "min" | "max"];

/** What any message may hold: rows, details, and what they refer to by number. */
export interface Pages {
  sources: string[];
  keys: Key[];
  total: number;
  rows: Row[];
  details: Detail[];
  configs: Record<string, Record<string, string>>;
}

export class Book {
  sources: string[] = [];
  keys: Key[] = [];
  total = 0;
  readonly rows = new Map<string, Row>();
  readonly details = new Map<string, Detail>();
  readonly configs = new Map<number, Record<string, string>>();
  isLost = false;
  private readonly asked = new Set<string>();
  private readonly listeners = new Set<() => void>();

  constructor(private readonly ask: (content: Record<string, unknown>) => void) {}

  /** The rows, oldest first. */
  get all(): Row[] {
    return [...this.rows.values()].sort((a, b) => a.source - b.source || a.n - b.n);
  }

  onChange(listener: () => void, signal: AbortSignal): void {
    this.listeners.add(listener);
    signal.addEventListener("abort", () => this.listeners.delete(listener), { once: true });
  }

  take(pages: Pages, isWhole = false): void {
    if (isWhole) this.rows.clear();
    this.sources = pages.sources;
    this.keys = pages.keys;
    this.total = pages.total;
    for (const row of pages.rows) this.rows.set(row.id, row);
    for (const detail of pages.details) {
      this.details.set(detail.id, detail);
      this.asked.delete(detail.id);
    }
    for (const [at, config] of Object.entries(pages.configs)) this.configs.set(Number(at), config);
    // Pages follow one another, so that no message is long.
    if (this.rows.size < this.total && pages.rows.length) this.ask({ type: "rows", known: this.rows.size });
    for (const listener of this.listeners) listener();
  }

  lose(): void {
    this.isLost = true;
    for (const listener of this.listeners) listener();
  }

  /** Asks for the details of runs that are not here, or were not over when they came. */
  want(ids: readonly string[]): void {
    const isOld = (id: string) => this.details.get(id)?.status !== this.rows.get(id)?.status;
    const missing = ids.filter((id) => isOld(id) && !this.asked.has(id));
    if (!missing.length || this.isLost) return;
    for (const id of missing) this.asked.add(id);
    this.ask({ type: "details", ids: missing });
  }

  /** What a run is called beside others; where several sources have runs, of which it is. */
  titleOf(row: Row): string {
    const source = this.sources.length > 1 ? `${this.sources[row.source]} ` : "";
    return `${source}#${row.n} ${row.label}`;
  }

  nameOf(key: number): string {
    return this.partsOf(key).join(" ");
  }

  /** The phase of a loss or metric, and its name there. */
  partsOf(key: number): [string, string] {
    const [phase, name] = this.keys[key] ?? ["", "?"];
    return [phase.split("/").at(-1) ?? "", name];
  }
}

/** A book that a kernel fills. */
export function liveBook(model: WidgetModel, signal: AbortSignal): Book {
  const book = new Book((content) => model.send(content));
  subscribe<Pages & Numbered>(model, signal, (patch, isWhole) => book.take(patch, isWhole));
  const receive = (message: { type: string; pages?: Pages }) => {
    if (message.type === "pages" && message.pages) book.take(message.pages);
  };
  listen(model, "msg:custom", signal, receive as (...args: never[]) => void);
  listen(model, "comm_live_update", signal, () => book.lose());
  return book;
}
