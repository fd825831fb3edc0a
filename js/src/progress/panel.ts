// The panel of one run: builds its elements once and patches them from then on.
import { element, setAttribute, setText, sync } from "../shared/dom";
import { clock, estimate, percent, rate, value } from "../shared/format";
import { GraphPane } from "../graph/pane";
import { makeGlyph, setGlyph } from "../shared/glyph";
import { loadChart } from "../shared/library";
import { canBeLog, isWide, leftOf } from "../shared/lines";
import type { WidgetModel } from "../shared/model";
import type { Chart } from "../shared/chart";
import { STATUS_WORDS } from "../shared/status";
import { axisEnd, curvesOf, foldsOf, unitOf } from "./curves";
import { Legend, makePair } from "./legend";
import { LogStrip } from "./log";
import { PhaseList } from "./phases";
import { isVague, type Phase, type Run } from "./run";
import { StopButton } from "./stop";

const TICK_MS = 250;

export class Panel {
  readonly root = element("section", { class: "mml modularml-progress" });
  private readonly glyph = makeGlyph();
  private readonly label = element("strong", { class: "mml-label" });
  private readonly badge = element("span", { class: "mml-badge" }, "preview");
  private readonly status = element("span", { class: "mml-status" });
  private readonly fill = element("div");
  private readonly bar = element("div", { class: "mml-bar", role: "progressbar", "aria-label": "Run" }, this.fill);
  private readonly legend = new Legend();
  private readonly plot = element("div", { class: "mml-chart", role: "img" });
  private readonly blank = element("div", { class: "mml-blank" });
  private readonly facts = element("div", { class: "mml-facts" });
  private readonly note = element("p", { class: "mml-note", role: "status", "aria-live": "polite" });
  private readonly phases: PhaseList;
  private readonly graph: GraphPane;
  private readonly log = new LogStrip();
  private readonly scale = element(
    "button",
    { class: "mml-scale", type: "button", "aria-label": "Logarithmic scale", "data-lm-suppress-shortcuts": "true" },
    "log",
  );
  private readonly stop: StopButton;
  private chart: Chart | null = null;
  private selected: number | null = null;
  private hovered: number | null = null;
  private isLog: boolean | null = null; // as it was asked for; else the values tell
  private isDrawn = false;
  private said = "";
  private named = "";

  constructor(
    private readonly run: Run,
    model: WidgetModel,
    signal: AbortSignal,
  ) {
    const isWhole = model.get("view") === "run";
    this.phases = new PhaseList(signal, (index) => this.select(index));
    this.stop = new StopButton(model, run, signal, (text) => this.tell(text, true));
    void loadChart().then((Chart) => {
      if (signal.aborted) return;
      this.chart = new Chart(this.plot, signal, { onHover: (x) => this.hover(x) });
      this.update();
    });
    this.graph = new GraphPane(signal, (px) => this.root.style.setProperty("--mml-graph", `${px}px`));
    this.scale.addEventListener("click", () => this.switchScale(), { signal });
    const head = element("header", {}, this.glyph, this.label, this.badge, this.status, this.stop.root);
    const top = element("div", { class: "mml-view-head" }, this.legend.root, this.scale);
    const view = element("div", { class: "mml-view" }, top, this.plot, this.blank);
    view.hidden = !isWhole;
    const body = element("div", { class: "mml-body" }, this.phases.root, this.graph.root, view);
    this.log.root.hidden = !isWhole;
    this.root.append(head, this.bar, body, this.log.root, element("footer", {}, this.facts, this.note));
    setAttribute(this.root, "data-view", isWhole ? "run" : "graph");
    run.onChange(() => this.schedule(), signal);
    const ticking = setInterval(() => run.isRunning && this.updateFacts(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(ticking));
    this.update();
  }

  update(): void {
    const { info } = this.run;
    const shown = this.shownPhase();
    const current = info.current === null ? undefined : this.run.phases[info.current];
    setAttribute(this.root, "data-status", info.status);
    setAttribute(this.root, "aria-label", `Run ${info.label}`);
    const vague = info.status === "running" && isVague(current);
    setGlyph(this.glyph, info.status, vague ? null : this.run.fraction);
    setText(this.label, info.label);
    setAttribute(this.label, "title", info.label);
    this.badge.hidden = !info.preview;
    setText(this.status, this.run.isLost ? "Kernel gone" : STATUS_WORDS[info.status]);
    this.stop.update();
    this.updateBar(vague);
    this.phases.update(this.run.phases, shown?.index ?? null, info.current);
    setAttribute(this.root, "data-alone", this.run.phases.length === 1 ? "" : null); // head and foot say all of it
    this.updateGraph(shown);
    this.updateChart(shown);
    this.log.update(this.run.log);
    this.updateFacts();
    this.announce(current);
  }

  /** Coalesces the changes of one frame. */
  private schedule(): void {
    if (this.isDrawn) return;
    this.isDrawn = true;
    requestAnimationFrame(() => {
      this.isDrawn = false;
      this.update();
    });
  }

  private select(index: number): void {
    const isFollowed = index === this.run.info.current && this.run.phases[index]?.kind === "train";
    this.selected = isFollowed ? null : index; // who picks the present training follows the run again
    this.hovered = null;
    this.update();
  }

  private hover(x: number | null): void {
    if (x === this.hovered) return;
    this.hovered = x;
    const shown = this.shownPhase();
    if (shown) this.legend.update(shown, curvesOf(shown, this.run.tracesOf(shown)), x);
  }

  /** The phase that was picked, else the present one; one without curves does not displace one with. */
  private shownPhase(): Phase | undefined {
    const { phases, info } = this.run;
    if (this.selected !== null) return phases[this.selected];
    const current = phases[info.current ?? -1];
    if (!current || current.kind === "train") return current;
    return phases.findLast((phase) => this.run.tracesOf(phase).length > 0) ?? current;
  }

  private updateBar(vague: boolean): void {
    this.fill.style.transform = `scaleX(${this.run.fraction.toFixed(4)})`;
    setAttribute(this.bar, "data-vague", vague ? "" : null);
    setAttribute(this.bar, "aria-valuenow", vague ? null : String(Math.round(this.run.fraction * 100)));
  }

  /** The picture of the phase that is shown; that of the present one while it runs. */
  private updateGraph(shown: Phase | undefined): void {
    const { info, phases } = this.run;
    this.graph.root.hidden = !info.graph;
    setAttribute(this.root, "data-graph", info.graph ? "" : null);
    const current = phases[info.current ?? -1];
    const phase = this.selected !== null ? shown : (current ?? phases.find((one) => one.picture !== null));
    this.graph.update(this.run.pictureOf(phase), phase, info);
  }

  private switchScale(): void {
    this.isLog = this.scale.getAttribute("aria-pressed") !== "true";
    this.update();
  }

  private updateChart(phase: Phase | undefined): void {
    const own = phase ? curvesOf(phase, this.run.tracesOf(phase)) : [];
    const curves = phase ? [...foldsOf(phase, this.run), ...own] : [];
    this.plot.hidden = curves.length === 0;
    this.blank.hidden = curves.length > 0;
    if (!phase) return setText(this.blank, "Preparing…");
    this.legend.update(phase, own, this.hovered);
    setText(this.blank, phase.status === "waiting" ? "Not started yet" : phase.status === "running" ? `${phase.work?.what ?? "Running…"} ${workOf(phase)}` : STATUS_WORDS[phase.status]);
    const left = leftOf(curves);
    this.scale.hidden = !canBeLog(left);
    if (!curves.length) return this.chart?.clear();
    setAttribute(this.plot, "data-unit", unitOf(phase));
    const isLog = (this.isLog ?? isWide(left)) && canBeLog(left);
    setAttribute(this.scale, "aria-pressed", String(isLog));
    this.chart?.draw(curves, 0, axisEnd(phase, curves), isLog, phase.best);
    this.nameChart(phase);
  }

  /** The chart in words: once an epoch, as words that change twenty times a second cannot be read. */
  private nameChart(phase: Phase): void {
    const moment = [phase.index, phase.epoch, phase.status].join();
    if (moment === this.named) return;
    this.named = moment;
    const told = Object.entries(phase.metrics).map(([name, number]) => `${name} ${value(number)}`);
    setAttribute(this.plot, "aria-label", `Losses of ${phase.path.at(-1)}: ${told.join(", ")}`);
  }

  private updateFacts(): void {
    const { info, sinceLast } = this.run;
    const current = this.run.phases[info.current ?? -1];
    // What every phase has stands first, and a figure has the room of the longest it may be: nothing moves.
    const facts: [name: string, text: string, room: string][] = [["Elapsed", clock(info.elapsed + sinceLast), "5ch"]];
    if (this.run.isRunning) facts.push(["Left", info.left === null ? "–" : `≈ ${estimate(Math.max(0, info.left - sinceLast))}`, "7ch"]);
    if (current && current.epochs > 1) facts.push(["Epoch", `${current.epoch} / ${current.epochs}`, roomOf(current.epochs)]);
    if (current?.batches && current.kind !== "fit") {
      const isQuick = info.quick && this.run.isRunning;
      facts.push([isQuick ? "Batches" : "Batch", isQuick ? String(current.batches) : `${current.batch} / ${current.batches}`, isQuick ? "" : roomOf(current.batches)]);
    }
    if (current?.work) facts.push([current.work.what, workOf(current), ""]);
    if (info.rate !== null && this.run.isRunning) facts.push(["Steps/s", rate(info.rate), "5ch"]);
    if (current && current.best !== null) facts.push(["Best epoch", String(current.best), ""]);
    sync(this.facts, facts, makeFact, (fact, [name, text, room]) => {
      const figure = fact.children[1] as HTMLElement;
      setAttribute(fact, "data-fact", name.toLowerCase());
      setText(fact.children[0] as Element, name);
      setText(figure, text);
      figure.style.minWidth = room;
    });
  }

  /** Says it to a screen reader, and if it matters shows it. */
  private tell(text: string, isVisible: boolean): void {
    setAttribute(this.note, "data-quiet", isVisible ? null : "");
    setText(this.note, text);
  }

  /** Says what changed, once: a reader is not told of every batch. */
  private announce(current: Phase | undefined): void {
    const { info } = this.run;
    const said = this.run.isLost
      ? "The kernel is gone; the run ended with it."
      : !this.run.isRunning
        ? `${STATUS_WORDS[info.status]}${info.error ? `: ${info.error}` : ""}`
        : current
          ? `${current.path.join(" / ")} ${STATUS_WORDS[current.status].toLowerCase()}${current.note ? `: ${current.note}` : ""}`
          : "";
    if (said === this.said) return;
    this.said = said;
    this.tell(said, this.run.isLost || info.error !== null);
  }
}

function makeFact(): HTMLElement {
  return element("span", {}, ...makePair());
}

/** The width of `12 / 100` at most. */
function roomOf(most: number): string {
  return `calc(${2 * String(most).length}ch + 1.1em)`;
}

/** What a phase waits for, and how far that is: `forest 37%`. */
function workOf({ work }: Phase): string {
  return work ? `${work.label} ${percent(work.fraction)}`.trim() : "";
}
