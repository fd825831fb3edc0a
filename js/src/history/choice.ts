// Which runs a table shows, in which order, and which of them are picked. It knows no DOM.
import { STATUS_WORDS } from "../shared/status";
import type { Book, Row } from "./book";

export type Column = "n" | "source" | "label" | "status" | "started" | "duration" | "seed" | "changed" | number;

export const MAX_PICKED = 12;
const MAX_METRICS = 3;
const N_NEWEST = 100;

export class Choice {
  text = "";
  status = "";
  column: Column = "started";
  isDescending = true;
  /** Ids of picked runs -> number of their colour, which stays theirs. */
  readonly picked = new Map<string, number>();

  constructor(private readonly book: Book) {}

  /** The rows that match, in order. */
  get rows(): Row[] {
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (row: Row) => {
      if (this.status && row.status !== this.status) return false;
      const text = this.textOf(row);
      return words.every((word) => text.includes(word));
    };
    const sign = this.isDescending ? -1 : 1;
    const rows = this.book.all.filter(matches).map((row) => [this.valueOf(row), row] as const);
    return rows.sort((a, b) => sign * compare(a[0], b[0], sign) || b[1].started - a[1].started).map(([, row]) => row);
  }

  /** The losses and metrics that have a column: those that most of the newest runs have. */
  get metrics(): number[] {
    const counts = new Map<number, number>();
    for (const row of this.book.all.slice(-N_NEWEST)) {
      for (const key of Object.keys(row.final).map(Number)) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const ranked = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, MAX_METRICS);
    return ranked.map(([key]) => key).sort((a, b) => a - b);
  }

  get pickedRows(): Row[] {
    return [...this.picked.keys()].map((id) => this.book.rows.get(id)).filter((row) => row !== undefined);
  }

  sortBy(column: Column): void {
    this.isDescending = column === this.column ? !this.isDescending : column === "started" || column === "duration";
    this.column = column;
  }

  toggle(id: string): void {
    if (this.picked.delete(id) || this.picked.size >= MAX_PICKED) return;
    const taken = new Set(this.picked.values());
    let color = 0;
    while (taken.has(color)) color++;
    this.picked.set(id, color);
  }

  only(id: string): void {
    this.picked.clear();
    this.picked.set(id, 0);
  }

  private valueOf(row: Row): number | string | undefined {
    const { column } = this;
    if (typeof column === "number") {
      const value = row.final[column];
      return typeof value === "number" ? value : undefined;
    }
    if (column === "changed") return row.nChanged ?? undefined;
    if (column === "source") return this.book.sources[row.source];
    return column === "seed" ? (row.seed ? Number(row.seed) : undefined) : row[column];
  }

  private textOf(row: Row): string {
    const about = [`#${row.n}`, row.label, row.status, STATUS_WORDS[row.status], row.seed, this.book.sources[row.source]];
    return [...about, row.error, row.changed, ...row.stale].join(" ").toLowerCase();
  }
}

/** Compares two values; what is not known comes last, whichever way round. */
function compare(a: number | string | undefined, b: number | string | undefined, sign: number): number {
  if (a === b) return 0;
  if (a === undefined) return sign;
  if (b === undefined) return -sign;
  return typeof a === "string" ? a.localeCompare(String(b)) : a - Number(b);
}
