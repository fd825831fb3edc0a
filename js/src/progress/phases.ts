// The list of the plan's phases: states, counts, and which one the chart shows.
import { element, setAttribute, setText, sync } from "../shared/dom";
import { duration, percent } from "../shared/format";
import { makeGlyph, setGlyph } from "../shared/glyph";
import { STATUS_WORDS, type Status } from "../shared/status";
import { fractionOf, isVague, type Phase } from "./run";

export class PhaseList {
  readonly root = element("div", { class: "mml-phases", role: "listbox", "aria-label": "Phases" });
  private phases: readonly Phase[] = [];
  private shown: number | null = null;
  private current: number | null = null;

  constructor(
    signal: AbortSignal,
    private readonly onSelect: (index: number) => void,
  ) {
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.root.addEventListener("click", (event) => this.pick(event.target), { signal });
    this.root.addEventListener("keydown", (event) => this.handleKey(event), { signal });
  }

  update(phases: readonly Phase[], shown: number | null, current: number | null): void {
    this.phases = phases;
    this.shown = shown;
    const depth = Math.min(...phases.map((phase) => phase.path.length));
    sync(this.root, phases, makeRow, (row, phase) => this.updateRow(row, phase, depth));
    if (current !== this.current) this.reveal(current);
    this.current = current;
  }

  private updateRow(row: HTMLElement, phase: Phase, topDepth: number): void {
    const isGroup = phase.kind === "group";
    const isShown = phase.index === this.shown;
    const [glyph, label, note] = row.children as unknown as [SVGSVGElement, HTMLElement, HTMLElement];
    setAttribute(row, "role", isGroup ? "presentation" : "option");
    setAttribute(row, "data-kind", phase.kind);
    setAttribute(row, "data-status", isGroup ? groupState(phase, this.phases)[0] : phase.status);
    setAttribute(row, "aria-selected", isGroup ? null : String(isShown));
    setAttribute(row, "tabindex", isGroup ? null : this.isTabStop(phase, isShown) ? "0" : "-1");
    setAttribute(row, "aria-label", isGroup ? null : `${phase.path.join(" / ")}: ${STATUS_WORDS[phase.status]}`);
    row.style.setProperty("--mml-depth", String(phase.path.length - topDepth));
    if (isGroup) setGlyph(glyph, ...groupState(phase, this.phases));
    else setGlyph(glyph, phase.status, isVague(phase) ? null : fractionOf(phase));
    setText(label, phase.path.at(-1) ?? "");
    setAttribute(label, "title", phase.path.join(" / "));
    setText(note, noteOf(phase));
  }

  private isTabStop(phase: Phase, isShown: boolean): boolean {
    if (this.shown !== null) return isShown;
    return phase === this.phases.find((other) => other.kind !== "group");
  }

  private pick(target: EventTarget | null): void {
    const row = target instanceof Element ? target.closest(".mml-phase") : null;
    const phase = row && this.phases[[...this.root.children].indexOf(row)];
    if (phase && phase.kind !== "group") this.onSelect(phase.index);
  }

  private handleKey(event: KeyboardEvent): void {
    const rows = [...this.root.children].filter((row) => row.getAttribute("role") === "option");
    const at = rows.indexOf(event.target as Element);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const row = to === undefined ? undefined : rows[to];
    if (!(row instanceof HTMLElement)) return;
    event.preventDefault();
    this.pick(row);
    row.focus();
  }

  /** Scrolls the list alone: `scrollIntoView` would move the notebook too. */
  private reveal(index: number | null): void {
    const row = index === null ? null : this.root.children[index];
    if (!(row instanceof HTMLElement)) return;
    const { root } = this;
    root.scrollTop = row.offsetTop - (root.clientHeight - row.offsetHeight) / 2;
    root.scrollLeft = row.offsetLeft - (root.clientWidth - row.offsetWidth) / 2;
  }
}

/** A group is what its phases are: running from the first to the last, then as the worst of them. */
function groupState(group: Phase, phases: readonly Phase[]): [Status, number] {
  const isWithin = (phase: Phase) => phase.kind !== "group" && group.path.every((label, i) => phase.path[i] === label);
  const within = phases.filter(isWithin);
  const has = (status: Status) => within.some((phase) => phase.status === status);
  const done = within.reduce((sum, phase) => sum + fractionOf(phase), 0) / Math.max(within.length, 1);
  for (const status of ["failed", "interrupted", "stopped"] as const) if (has(status)) return [status, 1];
  if (!has("waiting") && !has("running")) return ["completed", 1];
  return [done > 0 || has("running") ? "running" : "waiting", done];
}

function makeRow(): HTMLElement {
  return element(
    "div",
    { class: "mml-phase" },
    makeGlyph(),
    element("span", { class: "mml-phase-label" }),
    element("span", { class: "mml-phase-note" }),
  );
}

function noteOf(phase: Phase): string {
  if (phase.kind === "group" || phase.status === "waiting") return "";
  if (phase.duration !== null) return duration(phase.duration);
  if (phase.epochs > 1) return `${phase.epoch}/${phase.epochs}`;
  return isVague(phase) ? "" : percent(fractionOf(phase));
}
