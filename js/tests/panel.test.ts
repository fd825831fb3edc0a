import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { settle } from "./page";
import recorded from "../../tests/fixtures/progress_run.json";
import "../src/chart/index";
import { provideDrawer } from "../src/mermaid/drawer";
import { DrawnPicture } from "../src/graph/picture";
import progress from "../src/progress/index";
import type { Phase, RunPatch } from "../src/progress/run";
import { FakeModel } from "./fake-model";

const [first, ...rest] = recorded.patches as unknown as [RunPatch, ...RunPatch[]];
const whole = recorded.snapshot as unknown as RunPatch;
const opened: AbortController[] = [];

// Draws each box of a text as Mermaid does, as far as we look at it.
let nDrawn = 0;
provideDrawer({
  async draw(text) {
    const id = `drawn-${++nDrawn}`;
    const boxes = [...text.matchAll(/^\t(\w+)@\{/gm)].map(([, box], i) => {
      return `<g class="node" id="${id}-flowchart-${box}-${i}" transform="translate(${100 * i}, 20)"></g>`;
    });
    return `<svg id="${id}" viewBox="0 0 400 100">${boxes.join("")}</svg>`;
  },
});

function open(snapshot: RunPatch = first) {
  const model = new FakeModel({ snapshot, view: "run" });
  const control = new AbortController();
  opened.push(control);
  const el = document.createElement("div");
  document.body.append(el);
  const widget = progress();
  widget.initialize({ model, signal: control.signal });
  widget.render({ model, el, signal: control.signal });
  const play = async (patches: readonly RunPatch[]) => {
    for (const patch of patches) model.receive({ type: "patch", patch });
    await settle();
  };
  const text = (selector: string) => el.querySelector(selector)?.textContent ?? "";
  const stop = () => el.querySelector<HTMLElement>(".mml-stop") as HTMLElement;
  return { model, el, play, text, stop, control };
}

/** The patches up to the first that satisfies. */
function until(wanted: (patch: RunPatch) => boolean): RunPatch[] {
  return rest.slice(0, rest.findIndex(wanted) + 1);
}

const isInSecondEpoch = (patch: RunPatch) => patch.phases.some((phase) => phase.epoch === 2 && phase.batch > 0);

afterEach(() => {
  for (const control of opened.splice(0)) control.abort();
  document.body.textContent = "";
});

test("a run is followed from its start to its end", async () => {
  const { el, play, text } = open();
  assert.match(text(".mml-status"), /Running/);
  await play(until(isInSecondEpoch));
  assert.match(text(".mml-facts"), /Epoch 2 \/ 3Batch \d+ \/ 4/);
  assert.equal(el.querySelector('[role="option"]')?.getAttribute("aria-label"), "train: Running");
  assert.ok(el.querySelector(".uplot canvas"));
  await play(rest);
  assert.equal(text(".mml-status"), "Done");
  assert.deepEqual([...el.querySelectorAll('[role="option"]')].map((row) => row.getAttribute("data-status")), ["completed", "completed"]);
  assert.equal(el.querySelector(".mml-bar")?.getAttribute("aria-valuenow"), "100");
});

test("the count of batches, which begins anew every epoch, has the room of the greatest and moves nothing", async () => {
  const { el, play } = open();
  const room = () => el.querySelector<HTMLElement>('[data-fact="batch"] .mml-figure')?.style.minWidth;
  await play(until(isInSecondEpoch));
  assert.match(room() ?? "", /2ch/);
  const [patch] = until(isInSecondEpoch).slice(-1) as [RunPatch];
  await play([{ ...patch, seq: patch.seq + 1, phases: patch.phases.map((phase) => ({ ...phase, batches: 1000 })) }]);
  assert.match(room() ?? "", /8ch/);
});

test("what every phase has to tell stands at the same place in all of them", async () => {
  const { el, play } = open();
  const first = () => [...el.querySelectorAll<HTMLElement>("[data-fact]")].slice(0, 2).map((fact) => fact.dataset.fact);
  for (const patch of rest) {
    await play([patch]);
    if (patch.run.status === "running") assert.deepEqual(first(), ["elapsed", "left"]);
  }
});

test("of epochs that are over before they are drawn there is no count of batches, only their number", async () => {
  const { el, play, text } = open();
  await play(until(isInSecondEpoch));
  const [patch] = until(isInSecondEpoch).slice(-1) as [RunPatch];
  await play([{ ...patch, seq: patch.seq + 1, run: { ...patch.run, quick: true } }]);
  assert.match(text(".mml-facts"), /Batches 4$|Batches 4[^ ]/);
  const chips = [...el.querySelectorAll<HTMLElement>(".mml-chip")].filter((chip) => !chip.hidden).map((chip) => chip.textContent);
  assert.ok(chips.includes("4 batches"));
});

test("the chart has a name from its first curve on, with the numbers of the epoch that began", async () => {
  const { el, play } = open();
  const name = () => el.querySelector(".mml-chart")?.getAttribute("aria-label");
  await play(until((patch) => patch.traces.length > 0));
  assert.match(name() ?? "", /^Losses of train: mse \d/);
  const before = name();
  await play(until(isInSecondEpoch));
  assert.notEqual(name(), before);
});

test("between two folds the chart keeps those that were", async () => {
  const [train, evaluation] = whole.phases as [Phase, Phase];
  const family = { family: ["train"] };
  const next: Phase = { ...train, ...family, index: 2, path: ["fold_1", "train"], status: "running", metrics: {}, best: null };
  const run = { ...whole.run, status: "running" as const, current: 2 };
  const { el } = open({ ...whole, run, phases: [{ ...train, ...family, path: ["fold_0", "train"] }, evaluation, next] });
  await settle();
  assert.equal(el.querySelector(".mml-legend-title")?.textContent, "fold_1 / train");
  assert.equal(el.querySelector<HTMLElement>(".mml-chart")?.hidden, false);
  assert.ok(el.querySelector(".uplot canvas"));
});

test("a page that connects late shows the same as one that was there", async () => {
  const early = open();
  await early.play(rest);
  const late = open(recorded.snapshot as unknown as RunPatch);
  await settle();
  const shown = (el: Element) => [".mml-phases", ".mml-legend", ".mml-facts", "header"].map((part) => el.querySelector(part)?.textContent);
  assert.deepEqual(shown(late.el), shown(early.el));
});

test("names are shown as text, whatever they hold", async () => {
  const nasty = '<img src=x onerror="boom()">';
  const snapshot = JSON.parse(JSON.stringify(first)) as RunPatch;
  snapshot.run = { ...snapshot.run, label: nasty, error: nasty, status: "failed" };
  for (const phase of snapshot.phases) Object.assign(phase, { path: [nasty], metrics: { [nasty]: 1 } });
  const { el, text } = open(snapshot);
  assert.equal(text(".mml-label"), nasty);
  assert.equal(el.querySelector("img"), null);
});

test("the elements stay: an update patches them", async () => {
  const { el, play } = open();
  await play(until(isInSecondEpoch));
  const before = [...el.querySelectorAll(".mml-phase, .mml-legend-item, canvas, .mml-stop")];
  await play(rest.slice(until(isInSecondEpoch).length, -1));
  assert.ok(before.length > 4);
  assert.ok(before.every((one) => one.isConnected));
});

test("Stop asks Python, and interrupts the kernel when no answer comes", async () => {
  const { model, play, stop } = open();
  let nInterrupts = 0;
  model.widget_manager = { kernel: { interrupt: async () => void nInterrupts++ } };
  await play(until(isInSecondEpoch));
  stop().click();
  stop().click();
  assert.deepEqual(model.sent, [{ type: "stop", run: first.run.id }]);
  assert.equal(stop().getAttribute("aria-disabled"), "true");
  assert.equal(nInterrupts, 0);
  await settle(350);
  assert.equal(nInterrupts, 1);
});

test("Stop does not interrupt a kernel that answers, or a run that has ended meanwhile", async () => {
  for (const answered of [true, false]) {
    const { model, play, stop } = open();
    let nInterrupts = 0;
    model.widget_manager = { kernel: { interrupt: async () => void nInterrupts++ } };
    stop().click();
    if (answered) model.receive({ type: "stopping" });
    else await play(rest);
    await settle(350);
    assert.equal(nInterrupts, 0);
  }
});

test("where there is no kernel to reach, Stop says what to do", async () => {
  const { text, stop } = open();
  stop().click();
  await settle(350);
  assert.match(text(".mml-note"), /Interrupt/);
  assert.equal(stop().textContent, "Stop");
});

test("the keyboard picks the phase that is shown", async () => {
  const { el, play, text } = open();
  await play(rest);
  const [train, evaluation] = el.querySelectorAll<HTMLElement>('[role="option"]');
  assert.deepEqual([train?.tabIndex, evaluation?.tabIndex], [0, -1]);
  train?.focus();
  train?.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  assert.equal(document.activeElement, evaluation);
  assert.equal(evaluation?.getAttribute("aria-selected"), "true");
  assert.equal(text(".mml-legend-title"), "eval");
});

test("a phase that was picked stays, until the present training is picked", async () => {
  const { el, play, text } = open();
  const soFar = until(isInSecondEpoch);
  await play(soFar);
  const [train, evaluation] = el.querySelectorAll<HTMLElement>('[role="option"]');
  const now = soFar.at(-1) as RunPatch;
  const next = (index: number): RunPatch => ({
    ...now,
    seq: now.seq + index,
    run: { ...now.run, current: index },
    phases: [{ ...(now.phases[0] as Phase), index, path: [`training ${index}`] }],
    traces: [],
  });
  train?.click();
  await play([next(2)]);
  assert.equal(text(".mml-legend-title"), "training 2");
  evaluation?.click();
  await play([next(3)]);
  assert.equal(text(".mml-legend-title"), "eval");
});

test("a kernel that is gone is told, and the clock stands still", async () => {
  const { model, el, play, text } = open();
  await play(until(isInSecondEpoch));
  assert.ok(el.querySelector(".mml-picture[data-flows]"));
  model.trigger("comm_live_update");
  await settle();
  assert.equal(text(".mml-status"), "Kernel gone");
  assert.equal(el.querySelector(".mml-picture[data-flows]"), null);
  assert.equal(el.querySelector('[role="option"]')?.getAttribute("aria-label"), "train: Interrupted");
  assert.equal(el.querySelector('[data-fact="left"]'), null);
  assert.ok(el.querySelector<HTMLElement>(".mml-stop")?.hidden);
  const before = text('[data-fact="elapsed"]');
  await settle(1300);
  assert.equal(text('[data-fact="elapsed"]'), before);
});

test("a view that is gone leaves no listener behind", async () => {
  const { model, control, play } = open();
  await play(until(isInSecondEpoch));
  control.abort();
  assert.equal(model.nListeners, 0);
});

test("the graph is drawn once, and its boxes tell what they are about", async () => {
  const { el, play } = open();
  await play(until(isInSecondEpoch));
  const svg = el.querySelector(".mml-picture svg");
  const stateOf = (id: string) => el.querySelector(`[id*="-flowchart-${id}-"]`)?.getAttribute("data-state");
  const chips = () => [...el.querySelectorAll<HTMLElement>(".mml-chip")].filter((chip) => !chip.hidden).map((chip) => chip.textContent);
  assert.equal(stateOf("n0"), "running");
  assert.ok(el.querySelector(".mml-picture[data-flows]"));
  assert.equal(chips()[0], "lr 0.001 · cpu");
  assert.match(chips()[1] ?? "", /rows\/s$/);
  assert.match(chips()[2] ?? "", /^batch \d \/ 4$/);
  assert.match(chips()[3] ?? "", /^0\.\d+$/);
  const inTraining = rest.filter((patch) => patch.run.current === 0);
  await play(inTraining.slice(until(isInSecondEpoch).length));
  assert.equal(el.querySelector(".mml-picture svg"), svg);
  assert.equal(stateOf("n0"), "done");
  assert.equal(el.querySelector(".mml-picture[data-flows]"), null);
});

test("another phase swaps the picture, and picking one shows its own", async () => {
  const { el, play } = open();
  await play(rest);
  await settle();
  assert.equal(el.querySelectorAll(".mml-picture .node").length, 1);
  assert.equal(el.querySelector(".mml-picture .node")?.getAttribute("data-state"), "frozen");
  el.querySelector<HTMLElement>('[role="option"]')?.click();
  await settle();
  assert.equal(el.querySelectorAll(".mml-picture .node").length, 4);
  assert.match(el.querySelector(".mml-graph")?.getAttribute("aria-label") ?? "", /^Graph of train: done$/);
});

test("messages are shown as text, the last one always", async () => {
  const { el, play, text } = open();
  assert.equal(text(".mml-log summary"), "No messages");
  assert.equal(el.querySelector(".mml-log summary")?.getAttribute("tabindex"), "-1");
  const log = [{ level: "INFO", text: "one" }, { level: "WARNING", text: "<b>two</b>" }];
  await play([{ ...(rest[0] as RunPatch), log }]);
  assert.equal(text(".mml-log summary"), "warning: <b>two</b>");
  assert.equal(el.querySelectorAll(".mml-log li").length, 2);
  await play(rest.slice(1));
  assert.equal(text(".mml-log summary"), "warning: <b>two</b>");
});

test("the scale is switched by a button that says how it is", async () => {
  const { el, play } = open();
  await play(until(isInSecondEpoch));
  const button = el.querySelector<HTMLElement>(".mml-scale") as HTMLElement;
  const before = button.getAttribute("aria-pressed");
  button.click();
  assert.notEqual(button.getAttribute("aria-pressed"), before);
});

test("a list of one phase, which says no more than the head, leaves its room to the graph", async () => {
  const isAlone = (el: Element) => el.querySelector(".modularml-progress")?.hasAttribute("data-alone");
  assert.equal(isAlone(open().el), false);
  assert.equal(isAlone(open({ ...first, phases: first.phases.slice(0, 1) }).el), true);
});

test("a picture says how high it is in the width that it is given, and shrinks no further than it can be read", () => {
  const drawn = new DrawnPicture({ index: 0, mermaid: "", boxes: [] }, '<svg viewBox="0 0 1000 500"></svg>');
  const below = drawn.heightFor(2000) - 500; // the room for figures
  assert.deepEqual([1000, 800, 100].map((width) => drawn.heightFor(width) - below), [500, 400, 300]);
});
