// The browser of runs: a table to pick from, and what the picked runs come to.
import { element, setAttribute, setText } from "../shared/dom";
import { whole } from "../shared/format";
import { STATUS_WORDS, type Status } from "../shared/status";
import type { Book } from "./book";
import { Choice, MAX_PICKED } from "./choice";
import { Curves, type Picked } from "./curves";
import { note, phasesTables, settingsTable, valuesTable } from "./facts";
import { RunTable } from "./table";

const TABS = ["Curves", "Settings", "Phases"] as const;
type Tab = (typeof TABS)[number];

export class RunBrowser {
  readonly root = element("section", { class: "mml modularml-browser" });
  private readonly title = element("strong", { class: "mml-label" });
  private readonly count = element("span", { class: "mml-count", role: "status", "aria-live": "polite" });
  private readonly filter = element("input", { type: "search", placeholder: "Filter…", "aria-label": "Filter runs" });
  private readonly status = element("select", { "aria-label": "Status" });
  private readonly tabs = element("div", { class: "mml-tabs", role: "tablist" });
  private readonly panel = element("div", { class: "mml-panel", role: "tabpanel", tabindex: "-1" });
  private readonly remarks = element("div");
  private readonly facts = element("div", { class: "mml-tables" });
  private readonly choice: Choice;
  private readonly table: RunTable;
  private readonly curves: Curves;
  private tab: Tab = "Curves";
  private isScheduled = false;
  private drawn = "";

  constructor(
    private readonly book: Book,
    signal: AbortSignal,
  ) {
    this.choice = new Choice(book);
    this.table = new RunTable(book, this.choice, signal, () => this.update());
    this.curves = new Curves(book, signal, () => this.redraw());
    const tools = element("div", { class: "mml-tools", "data-lm-suppress-shortcuts": "true" }, this.filter, this.status);
    this.panel.append(this.remarks, this.curves.root, this.facts);
    this.root.append(element("header", {}, this.title, this.count, tools), this.table.root, this.tabs, this.panel);
    this.filter.addEventListener("input", () => this.refilter(), { signal });
    this.filter.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
    this.status.addEventListener("change", () => this.refilter(), { signal });
    this.tabs.addEventListener("click", (event) => this.openTab((event.target as HTMLElement).dataset.tab), { signal });
    this.tabs.addEventListener("keydown", (event) => this.handleTabKey(event), { signal });
    book.onChange(() => this.schedule(), signal);
    for (const name of TABS) this.tabs.append(element("button", { type: "button", role: "tab", "data-tab": name }, name));
    this.pickNewest();
    this.update();
  }

  private pickNewest(): void {
    const newest = this.book.all.filter((row) => Object.keys(row.final).length).sort((a, b) => b.started - a.started);
    const label = newest[0]?.label;
    for (const row of newest.filter((one) => one.label === label).slice(0, 3).reverse()) this.choice.toggle(row.id);
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => {
      this.isScheduled = false;
      if (!this.choice.picked.size) this.pickNewest();
      this.update();
    });
  }

  private redraw(): void {
    this.drawn = "";
    this.update();
  }

  private refilter(): void {
    this.choice.text = this.filter.value;
    this.choice.status = this.status.value;
    this.update();
  }

  update(): void {
    const { book, choice } = this;
    setText(this.title, book.sources.join(", ") || "Runs");
    setAttribute(this.root, "aria-label", `Runs of ${book.sources.join(", ")}`);
    this.updateStatuses();
    this.table.update();
    const n = choice.rows.length;
    const told = n === book.rows.size ? `${whole(n)} run${n === 1 ? "" : "s"}` : `${whole(n)} of ${whole(book.rows.size)} runs`;
    const more = book.rows.size < book.total ? `, ${whole(book.total - book.rows.size)} to come` : "";
    const full = choice.picked.size === MAX_PICKED ? " (as many as fit)" : "";
    setText(this.count, `${told}${more}, ${choice.picked.size} picked${full}${book.isLost ? ". The kernel is gone." : ""}`);
    this.updatePanel();
  }

  private updateStatuses(): void {
    const found = [...new Set([...this.book.rows.values()].map((row) => row.status))].sort();
    const key = found.join();
    if (this.status.dataset.key === key) return;
    this.status.dataset.key = key;
    const chosen = this.status.value;
    const option = (value: string, text: string) => element("option", { value }, text);
    this.status.replaceChildren(option("", "All"), ...found.map((one: Status) => option(one, STATUS_WORDS[one])));
    this.status.value = found.includes(chosen as Status) ? chosen : "";
  }

  private updatePanel(): void {
    const picked: Picked[] = this.choice.pickedRows.map((row) => ({ row, color: this.choice.picked.get(row.id) ?? 0 }));
    this.book.want(picked.map(({ row }) => row.id));
    for (const button of this.tabs.children as unknown as HTMLElement[]) {
      const isOpen = button.dataset.tab === this.tab;
      setAttribute(button, "aria-selected", String(isOpen));
      setAttribute(button, "tabindex", isOpen ? "0" : "-1");
    }
    setAttribute(this.panel, "aria-label", this.tab);
    const here = picked.filter(({ row }) => this.book.details.has(row.id));
    // Tables are made anew only if what they tell changed, so that no one loses the place in them.
    const key = JSON.stringify([this.tab, this.book.total > 0, picked.map(({ row, color }) => [row.id, color, row.stale]), here.map(({ row }) => this.book.details.get(row.id)?.status)]);
    if (key === this.drawn) return;
    this.drawn = key;
    const stale = picked.flatMap(({ row }) => row.stale.map((text) => element("p", { class: "mml-stale" }, `#${row.n}: ${text}`)));
    this.remarks.replaceChildren(...stale);
    this.curves.root.hidden = this.tab !== "Curves" || !this.curves.update(here);
    this.facts.replaceChildren(this.made(picked, here));
  }

  private made(picked: readonly Picked[], here: readonly Picked[]): HTMLElement {
    if (!this.book.total) return note("Nothing was run yet.");
    if (!picked.length) return note("Pick runs in the table: a click picks one, its square adds it to the others.");
    if (!here.length) return note(this.book.isLost ? "The kernel is gone, and with it what was not shown." : "Waiting for the kernel…");
    if (this.tab === "Settings") return settingsTable(this.book, here);
    return this.tab === "Phases" ? phasesTables(this.book, here) : valuesTable(this.book, here);
  }

  private openTab(name: string | undefined): void {
    const tab = TABS.find((one) => one === name);
    if (!tab) return;
    this.tab = tab;
    this.updatePanel();
  }

  private handleTabKey(event: KeyboardEvent): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    this.openTab(TABS.at((TABS.indexOf(this.tab) + step) % TABS.length));
    this.tabs.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
  }
}
