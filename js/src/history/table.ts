// The table of runs: as many rows in the page as can be seen, however many there are.
import { element, setAttribute, setText, sync } from "../shared/dom";
import { duration, value } from "../shared/format";
import { makeGlyph, setGlyph } from "../shared/glyph";
import { STATUS_WORDS } from "../shared/status";
import type { Book, Row } from "./book";
import type { Choice, Column } from "./choice";

const ROW_PX = 30;
const MAX_ROWS_SEEN = 8;
const SPARE_ROWS = 4;

export class RunTable {
  readonly root = element("div", { class: "mml-grid", role: "grid", "aria-multiselectable": "true", "aria-label": "Runs" });
  private readonly head = element("div", { class: "mml-tr mml-head", role: "row", "aria-rowindex": "1" });
  private readonly body = element("div", { class: "mml-body", role: "rowgroup" });
  private readonly space = element("div", { class: "mml-space", role: "presentation" });
  private readonly lines = element("div", { class: "mml-lines", role: "presentation" });
  private rows: Row[] = [];
  private active = 0;

  constructor(
    private readonly book: Book,
    private readonly choice: Choice,
    signal: AbortSignal,
    private readonly onChoose: () => void,
  ) {
    this.space.append(this.lines);
    this.body.append(this.space);
    this.root.append(this.head, this.body);
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.body.addEventListener("scroll", () => this.draw(), { signal });
    this.body.addEventListener("click", (event) => this.handleClick(event), { signal });
    this.body.addEventListener("keydown", (event) => this.handleKey(event), { signal });
    this.head.addEventListener("click", (event) => this.handleSort(event.target), { signal });
  }

  update(): void {
    this.rows = this.choice.rows;
    this.active = Math.min(this.active, Math.max(this.rows.length - 1, 0));
    setAttribute(this.root, "aria-rowcount", String(this.rows.length + 1));
    setAttribute(this.root, "aria-colcount", String(this.columns.length + 1));
    const widths = this.choice.metrics.map((key) => Math.min(Math.max(7 * this.headOf(key).join("").length + 14, 84), 170));
    const hasSources = this.book.sources.length > 1;
    const source = hasSources ? "minmax(70px, 0.8fr) " : "";
    const shape = `28px 44px ${source}minmax(90px, 1.2fr) 126px 110px 62px 52px minmax(80px, 1.8fr)${widths.map((px) => ` minmax(${px}px, 0.7fr)`).join("")}`;
    this.root.style.setProperty("--mml-columns", shape);
    this.root.style.setProperty("--mml-least", `${widths.reduce((sum, px) => sum + px, hasSources ? 682 : 612)}px`);
    this.space.style.height = `${this.rows.length * ROW_PX}px`;
    this.body.style.height = `${Math.min(Math.max(this.rows.length, 1), MAX_ROWS_SEEN) * ROW_PX}px`;
    sync(this.head, [null, ...this.columns], makeHead, (cell, column) => this.updateHead(cell, column));
    this.draw();
  }

  private get columns(): [Column, string][] {
    const source: [Column, string][] = this.book.sources.length > 1 ? [["source", "Of"]] : [];
    const fixed: [Column, string][] = [["label", "Run"], ["status", "Status"], ["started", "Started"], ["duration", "Took"], ["seed", "Seed"], ["changed", "Changed"]];
    return [["n", "#"], ...source, ...fixed, ...this.choice.metrics.map((key): [Column, string] => [key, this.book.nameOf(key)])];
  }

  private updateHead(cell: HTMLElement, given: [Column, string] | null): void {
    const button = cell.firstElementChild as HTMLElement;
    button.hidden = given === null;
    if (!given) return setAttribute(cell, "aria-label", "Picked");
    const [column, title] = given;
    const isSorted = column === this.choice.column;
    setAttribute(cell, "aria-sort", isSorted ? (this.choice.isDescending ? "descending" : "ascending") : "none");
    setAttribute(cell, "data-column", String(column));
    setAttribute(cell, "data-number", isNumber(column) ? "" : null);
    setAttribute(button, "title", `Sort by ${title}`);
    const [of, name] = button.children as unknown as [Element, Element];
    const told = typeof column === "number" ? this.headOf(column) : ["", title];
    setText(of, told[0] ?? "");
    setText(name, told[1] ?? "");
  }

  /** The phase of a metric, where it is not that of all, and its name. */
  private headOf(key: number): [string, string] {
    const [phase, name] = this.book.partsOf(key);
    const phases = new Set(this.choice.metrics.map((one) => this.book.partsOf(one)[0]));
    return [phase && phases.size > 1 ? `${phase} ` : "", name];
  }

  private draw(): void {
    const first = Math.max(0, Math.floor(this.body.scrollTop / ROW_PX) - SPARE_ROWS);
    const shown = this.rows.slice(first, first + MAX_ROWS_SEEN + 2 * SPARE_ROWS);
    this.lines.style.transform = `translateY(${first * ROW_PX}px)`;
    sync(this.lines, shown, makeRow, (line, row, i) => this.updateRow(line, row, first + i));
  }

  private updateRow(line: HTMLElement, row: Row, at: number): void {
    const color = this.choice.picked.get(row.id);
    setAttribute(line, "data-id", row.id);
    setAttribute(line, "data-at", String(at));
    setAttribute(line, "data-status", row.status);
    setAttribute(line, "data-stale", row.stale.length ? "" : null);
    setAttribute(line, "aria-rowindex", String(at + 2));
    setAttribute(line, "aria-selected", String(color !== undefined));
    setAttribute(line, "tabindex", at === this.active ? "0" : "-1");
    const [pick, ...cells] = line.children as unknown as HTMLElement[];
    pick?.style.setProperty("--mml-color", color === undefined ? "transparent" : `var(--mml-series-${(color % 6) + 1})`);
    const columns = this.columns;
    sync(line, [null, ...columns], makeCell, (cell, given) => {
      if (given) this.updateCell(cell, given[0], row);
    });
    const glyph = cells.find((cell) => cell.dataset.column === "status")?.querySelector("svg");
    if (glyph) setGlyph(glyph, row.status, row.status === "running" ? null : 1);
  }

  private updateCell(cell: HTMLElement, column: Column, row: Row): void {
    setAttribute(cell, "data-column", String(column));
    setAttribute(cell, "data-number", isNumber(column) ? "" : null);
    const text = this.textOf(column, row);
    if (column === "status") {
      if (!cell.querySelector("svg")) cell.replaceChildren(makeGlyph(), element("span"));
      setAttribute(cell, "title", row.stale.join("\n") || null);
      return setText(cell.lastElementChild as Element, text);
    }
    if (cell.querySelector("svg")) cell.replaceChildren();
    setText(cell, text);
    setAttribute(cell, "title", column === "started" ? new Date(row.started).toLocaleString() : text);
    setAttribute(cell, "data-same", column === "changed" && !row.nChanged ? "" : null);
  }

  private textOf(column: Column, row: Row): string {
    if (typeof column === "number") return column in row.final ? value(row.final[column] as number | string) : "";
    if (column === "source") return this.book.sources[row.source] ?? "";
    if (column === "status") return STATUS_WORDS[row.status] + (row.stale.length ? " · stale" : "");
    if (column === "started") return moment(row.started);
    if (column === "duration") return duration(row.duration);
    return column === "n" ? String(row.n) : row[column];
  }

  private handleSort(target: EventTarget | null): void {
    const cell = target instanceof Element ? target.closest<HTMLElement>("[data-column]") : null;
    if (!cell?.dataset.column) return;
    const name = cell.dataset.column;
    this.choice.sortBy(/^\d+$/.test(name) ? Number(name) : (name as Column));
    this.body.scrollTop = 0;
    this.active = 0;
    this.update();
  }

  private handleClick(event: MouseEvent): void {
    const line = event.target instanceof Element ? event.target.closest<HTMLElement>(".mml-tr") : null;
    if (!line) return;
    this.active = Number(line.dataset.at);
    const isSingle = !(event.target as Element).closest(".mml-pick") && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    this.choose(line.dataset.id ?? "", isSingle);
    line.focus();
  }

  private handleKey(event: KeyboardEvent): void {
    const last = this.rows.length - 1;
    const moves: Record<string, number> = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, Home: 0, End: last,
      PageDown: this.active + MAX_ROWS_SEEN, PageUp: this.active - MAX_ROWS_SEEN,
    };
    const row = this.rows[this.active];
    if (event.key in moves) this.moveTo(Math.max(0, Math.min(last, moves[event.key] as number)));
    else if (row && (event.key === " " || event.key === "Enter")) this.choose(row.id, event.key === "Enter");
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private moveTo(at: number): void {
    this.active = at;
    const { body } = this;
    const height = body.clientHeight || MAX_ROWS_SEEN * ROW_PX;
    if (at * ROW_PX < body.scrollTop) body.scrollTop = at * ROW_PX;
    else if ((at + 1) * ROW_PX > body.scrollTop + height) body.scrollTop = (at + 1) * ROW_PX - height;
    this.draw();
    this.lines.querySelector<HTMLElement>('[tabindex="0"]')?.focus();
  }

  private choose(id: string, isSingle: boolean): void {
    if (isSingle) this.choice.only(id);
    else this.choice.toggle(id);
    this.draw();
    this.onChoose();
  }
}

/** A day and a time; of this year's runs without the year. */
function moment(ms: number): string {
  const date = new Date(ms);
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  const day = isThisYear ? { day: "numeric", month: "short" } as const : { day: "numeric", month: "short", year: "2-digit" } as const;
  return date.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" }).replace(",", "");
}

function isNumber(column: Column): boolean {
  return typeof column === "number" || ["n", "duration", "seed"].includes(column);
}

function makeHead(): HTMLElement {
  return element("div", { class: "mml-th", role: "columnheader" }, element("button", { type: "button" }, element("span", { class: "mml-of" }), element("span")));
}

function makeRow(): HTMLElement {
  const pick = element("div", { class: "mml-td mml-pick", role: "gridcell", title: "Pick, to compare" });
  return element("div", { class: "mml-tr", role: "row" }, pick);
}

function makeCell(): HTMLElement {
  return element("div", { class: "mml-td", role: "gridcell" });
}
