// What the picked runs come to, as tables: values, settings that differ, phases and checkpoints.
import { element } from "../shared/dom";
import { duration, value } from "../shared/format";
import { STATUS_WORDS } from "../shared/status";
import type { Book, Curve } from "./book";
import type { Picked } from "./curves";

type Cell = Node | string;

/** Least, last and best value of each loss and metric, run by run; a star marks the best run. */
export function valuesTable(book: Book, picked: readonly Picked[]): HTMLElement {
  const rows: Cell[][] = [];
  book.keys.forEach(([, , goal], key) => {
    const found = picked
      .map((one) => ({ one, curve: book.details.get(one.row.id)?.curves.find((curve) => curve.key === key) }))
      .filter((entry): entry is { one: Picked; curve: Curve } => entry.curve !== undefined);
    const best = found.map(({ curve }) => curve.best?.[1] ?? NaN).filter(Number.isFinite);
    const top = goal === "max" ? Math.max(...best) : Math.min(...best);
    found.forEach(({ one, curve }, i) => {
      const star = best.length > 1 && curve.best?.[1] === top ? " ★" : "";
      rows.push([i ? "" : book.nameOf(key), nameOf(book, one), number(curve.least), number(curve.greatest), value(curve.last), curve.best ? `${number(curve.best[1])}${star}` : "", curve.best && curve.n > 1 ? `${curve.per} ${curve.best[0]}` : ""]);
    });
  });
  return table("Values", ["Loss or metric", "Run", ">Least", ">Greatest", ">Last", ">Best", "at"], rows);
}

/** The settings in which the runs differ; of a single run, what changed since the last like it. */
export function settingsTable(book: Book, picked: readonly Picked[]): HTMLElement {
  const [first] = picked;
  if (picked.length === 1 && first) return changesTable(book, first);
  const configs = picked.map(({ row }) => {
    const detail = book.details.get(row.id);
    const config = detail?.config == null ? {} : (book.configs.get(detail.config) ?? {});
    return { ...config, ...prefixed(detail?.metadata ?? {}) } as Record<string, string>;
  });
  const paths = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const isEmpty = (text: string | undefined) => text === undefined || text === "{}" || text === "[]"; // what fills it is told
  const differing = paths.filter((path) => new Set(configs.map((config) => config[path])).size > 1 && !configs.every((config) => isEmpty(config[path])));
  if (!differing.length) return note(configs.some((config) => Object.keys(config).some((path) => !path.startsWith("environment."))) ? "These runs were told the same." : "The settings of these runs are not known.");
  return table("Settings that differ", ["Setting", ...picked.map((one) => nameOf(book, one))], differing.map((path) => [path, ...configs.map((config) => config[path] ?? "–")]));
}

function changesTable(book: Book, { row }: Picked): HTMLElement {
  const detail = book.details.get(row.id);
  const told = detail?.changes;
  const root = element("div");
  if (!told) root.append(note("There is no earlier run of this label to compare it with."));
  else if (!told.length) root.append(note("Nothing changed since the last run of this label."));
  else root.append(table("Changes", ["Setting", "Before", "Now"], told.map(([path, before, now]) => [path, before ?? "–", now ?? "–"])));
  const config = detail?.config == null ? undefined : book.configs.get(detail.config);
  if (config) {
    const all = table("All settings", ["Setting", "Value"], Object.entries(config));
    root.append(element("details", {}, element("summary", {}, `All ${Object.keys(config).length} settings`), all));
  }
  return root;
}

/** The phases of the runs, and what else is known of each. */
export function phasesTables(book: Book, picked: readonly Picked[]): HTMLElement {
  const root = element("div");
  for (const one of picked) {
    const detail = book.details.get(one.row.id);
    if (!detail) continue;
    const rows = detail.phases.map((phase) => [phase.path, phase.kind, STATUS_WORDS[phase.status], duration(phase.duration_s)]);
    const facts = Object.entries(detail.metadata).map(([name, text]) => `${name} ${text}`);
    if (detail.folds) facts.unshift(`${detail.folds} folds`);
    root.append(element("h4", {}, nameOf(book, one)));
    if (one.row.error) root.append(element("p", { class: "mml-error" }, one.row.error));
    root.append(table(`Phases of ${one.row.label}`, ["Phase", "Kind", "Status", ">Took"], rows));
    if (detail.checkpoints.length) root.append(note(`Checkpoints: ${detail.checkpoints.join(", ")}`));
    root.append(note(facts.join(" · ")));
  }
  return root;
}

export function note(text: string): HTMLElement {
  return element("p", { class: "mml-muted" }, text);
}

function nameOf(book: Book, { row, color }: Picked): HTMLElement {
  const swatch = element("i", { class: "mml-swatch" });
  swatch.style.setProperty("--mml-color", `var(--mml-series-${(color % 6) + 1})`);
  return element("span", { class: "mml-named" }, swatch, book.titleOf(row));
}

function prefixed(metadata: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, text]) => [`environment.${name}`, text]));
}

function number(given: number | null): string {
  return given === null ? "–" : value(given);
}

/** A table; a head that begins with `>` is that of numbers. */
function table(title: string, heads: readonly Cell[], rows: readonly (readonly Cell[])[]): HTMLElement {
  const isNumber = heads.map((head) => typeof head === "string" && head.startsWith(">"));
  const cells = (tag: "th" | "td", row: readonly Cell[]) =>
    row.map((cell, i) => element(tag, isNumber[i] ? { class: "mml-number" } : {}, typeof cell === "string" ? (tag === "th" ? cell.replace(/^>/, "") : cell) : cell.cloneNode(true)));
  const top = element("thead", {}, element("tr", {}, ...cells("th", heads)));
  const body = element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row))));
  return element("div", { class: "mml-scroll", tabindex: "0", role: "region", "aria-label": title }, element("table", {}, top, body));
}
