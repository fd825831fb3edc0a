import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { settle } from "./page";
import "../src/chart/index";
import { Book, type Detail, type Pages, type Row } from "../src/history/book";
import { Choice, MAX_PICKED } from "../src/history/choice";
import history from "../src/history/index";
import { FakeModel } from "./fake-model";

const opened: AbortController[] = [];
const KEYS: Pages["keys"] = [["train", "mse", "min"], ["eval", "accuracy", "max"]];

function row(n: number, more: Partial<Row> = {}): Row {
  const about = { id: `r${n}`, source: 0, n, label: "demo", status: "completed" as const, error: null };
  return { ...about, started: 1000 * n, duration: 10 - n, seed: "5", stale: [], changed: n ? "lr 0.1 → 0.2" : "", nChanged: n ? 1 : null, final: { 0: 1 / (n + 1) }, ...more };
}

function detail(n: number, more: Partial<Detail> = {}): Detail {
  const y = [3, 2, 1 / (n + 1)];
  const curve = { key: 0, per: "epoch" as const, n: 3, x: [1, 2, 3], y, least: 1 / (n + 1), greatest: 3, last: 1 / (n + 1), best: [3, 1 / (n + 1)] as [number, number] };
  const about = { id: `r${n}`, status: "completed" as const, phases: [{ path: "train", kind: "train", status: "completed" as const, duration_s: 1 }] };
  return { ...about, curves: [curve], changes: null, config: n, metadata: { seed: "5" }, checkpoints: ["END"], folds: 0, ...more };
}

function pages(rows: Row[], details: Detail[] = [], total = rows.length): Pages {
  const configs = Object.fromEntries(details.map((one) => [String(one.config), { "plan.type": "TrainPhase", "plan.lr": String(one.config) }]));
  return { sources: ["demo"], keys: KEYS, total, rows, details, configs };
}

async function open(given: Pages) {
  const model = new FakeModel({ snapshot: { ...given, seq: 0 }, token: "mml-at-1" });
  const control = new AbortController();
  opened.push(control);
  const host = document.createElement("div");
  host.className = "modularml-history mml-at-1";
  host.textContent = "static";
  document.body.append(host);
  history().initialize({ model, signal: control.signal });
  await settle();
  const el = document.querySelector(".modularml-browser") as HTMLElement;
  const text = (selector: string) => el.querySelector(selector)?.textContent ?? "";
  const order = () => [...el.querySelectorAll(".mml-lines .mml-tr")].map((line) => (line as HTMLElement).dataset.id);
  return { model, control, host, el, text, order };
}

const click = (target: Element | null, init: MouseEventInit = {}) => target?.dispatchEvent(new MouseEvent("click", { bubbles: true, ...init }));
const press = (target: Element | null, key: string) => target?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));

afterEach(() => {
  for (const control of opened.splice(0)) control.abort();
  document.body.textContent = "";
});

test("the browser stands in the place of the static form, and gives it back", async () => {
  const { control, model, host, el, text } = await open(pages([row(0), row(1)], [detail(0), detail(1)]));
  assert.equal(host.hidden, true);
  assert.equal(text(".mml-count"), "2 runs, 2 picked");
  assert.ok(el.querySelector("canvas"));
  const copy = host.cloneNode(true) as HTMLElement;
  copy.hidden = false;
  document.body.append(copy);
  await settle();
  assert.equal(document.querySelectorAll(".modularml-browser").length, 2, "a second view of the output");
  control.abort();
  assert.equal(host.hidden, false);
  assert.equal(document.querySelector(".modularml-browser"), null);
  assert.equal(model.nListeners, 0);
});

test("rows are sorted and filtered, and unknown values come last", async () => {
  const { el, order } = await open(pages([row(0), row(1, { final: {} }), row(2, { status: "failed", error: "nan <b>" })]));
  assert.deepEqual(order(), ["r2", "r1", "r0"]);
  const metric = el.querySelector('.mml-th[data-column="0"] button');
  click(metric);
  assert.deepEqual(order(), ["r2", "r0", "r1"]);
  click(metric);
  assert.deepEqual(order(), ["r0", "r2", "r1"]);
  assert.equal(metric?.parentElement?.getAttribute("aria-sort"), "descending");
  const search = el.querySelector("input") as HTMLInputElement;
  search.value = "FAILED nan";
  search.dispatchEvent(new window.Event("input"));
  assert.deepEqual(order(), ["r2"]);
});

test("runs are picked with the mouse and by keyboard, and their details are asked for once", async () => {
  const { el, model, text } = await open(pages([row(0), row(1)], [detail(1)]));
  const line = (id: string) => el.querySelector(`[data-id="${id}"]`);
  assert.deepEqual(model.sent, [{ type: "details", ids: ["r0"] }]);
  click(line("r1"));
  assert.equal(text(".mml-count"), "2 runs, 1 picked");
  press(line("r1"), "ArrowDown");
  press(line("r0"), " ");
  assert.equal(text(".mml-count"), "2 runs, 2 picked");
  assert.equal(line("r0")?.getAttribute("aria-selected"), "true");
  assert.equal(model.sent.length, 1);
  model.receive({ type: "pages", pages: pages([], [detail(0)], 2) });
  await settle();
  click(el.querySelector('[data-tab="Settings"]'));
  assert.match(text(".mml-tables"), /plan\.lr10/);
  click(el.querySelector('[data-tab="Phases"]'));
  assert.match(text(".mml-tables"), /Checkpoints: END/);
});

test("rows that are not here yet are asked for page by page, and new runs appear", async () => {
  const { model, text } = await open(pages([row(2), row(3)], [detail(2), detail(3)], 4));
  assert.deepEqual(model.sent, [{ type: "rows", known: 2 }]);
  model.receive({ type: "pages", pages: pages([row(0), row(1)], [], 4) });
  model.receive({ type: "patch", patch: { ...pages([row(4, { status: "running", final: {} })], [], 5), seq: 1 } });
  await settle();
  assert.equal(text(".mml-count"), "5 runs, 2 picked");
  assert.equal(model.sent.length, 1);
});

test("of a run that ended meanwhile the details are asked for again", () => {
  const asked: unknown[] = [];
  const book = new Book((content) => asked.push(content));
  book.take(pages([row(0, { status: "running" })], [detail(0, { status: "running" })]), true);
  book.want(["r0"]);
  assert.deepEqual(asked, []);
  book.take(pages([row(0)]));
  book.want(["r0"]);
  assert.deepEqual(asked, [{ type: "details", ids: ["r0"] }]);
});

test("no text of a run becomes markup", async () => {
  const hostile = "<img src=x onerror=alert(1)>";
  const given = pages([row(0, { label: hostile, error: hostile, status: "failed" })], [detail(0, { metadata: { [hostile]: hostile }, checkpoints: [hostile] })]);
  const { el } = await open({ ...given, sources: [hostile], keys: [[hostile, hostile, "min"], ["b", "c", "min"]] });
  for (const tab of ["Curves", "Settings", "Phases"]) {
    click(el.querySelector(`[data-tab="${tab}"]`));
    assert.equal(el.querySelector("img"), null);
  }
});

test("a colour stays with its run, and no more are picked than can be told apart", () => {
  const book = new Book(() => undefined);
  book.take(pages(Array.from({ length: 20 }, (_, n) => row(n))), true);
  const choice = new Choice(book);
  for (const one of book.all) choice.toggle(one.id);
  assert.equal(choice.picked.size, MAX_PICKED);
  choice.toggle("r0");
  choice.toggle("r15");
  assert.equal(choice.picked.get("r15"), 0);
  assert.equal(choice.picked.get("r1"), 1);
});

test("what is stale is marked, told why, and found by that word", async () => {
  const why = "results of 'train' (run 0) are stale: node 'net' changed lr 0.1 -> 0.2 after it ran";
  const { el, text, order, model } = await open(pages([row(0, { stale: [why] }), row(1)], [detail(0), detail(1)]));
  const marked = el.querySelector('[data-id="r0"]');
  assert.equal(marked?.querySelector('[data-column="status"]')?.textContent, "Done · stale");
  assert.equal(text(".mml-stale"), `#0: ${why}`);
  const filter = el.querySelector("input") as HTMLInputElement;
  filter.value = "stale";
  filter.dispatchEvent(new window.Event("input"));
  assert.deepEqual(order(), ["r0"]);
  model.receive({ type: "patch", patch: { ...pages([row(0)]), total: 2, seq: 1 } });
  await settle();
  assert.equal(el.querySelector(".mml-stale"), null);
});

test("runs of several sources are told apart by their source", async () => {
  const given = pages([row(0), row(0, { id: "other", source: 1 })], [detail(0), detail(0, { id: "other" })]);
  const { el } = await open({ ...given, sources: ["here", "before.exp.mml"] });
  const names = [...el.querySelectorAll("td .mml-named")].map((one) => one.textContent).sort();
  assert.deepEqual(names, ["before.exp.mml #0 demo", "here #0 demo"]);
});

test("without runs the browser says so, and no more once there is one", async () => {
  const { model, text } = await open(pages([]));
  assert.equal(text(".mml-panel"), "Nothing was run yet.");
  const first = row(0, { status: "failed", final: {} });
  model.receive({ type: "patch", patch: { ...pages([first]), seq: 1 } });
  await settle();
  assert.match(text(".mml-panel"), /^Pick runs/);
});

test("where all metrics are of one phase, the heads name the metrics alone", async () => {
  const { el } = await open(pages([row(0)], [detail(0)]));
  assert.equal(el.querySelector('.mml-th[data-column="0"] button')?.textContent, "mse");
});

test("what was empty and is filled in another run is told by what it is filled with", async () => {
  const configs = { 0: { upstream: "{}" }, 1: { "upstream.fit": "a" } };
  const { el, text } = await open({ ...pages([row(0), row(1)], [detail(0, { config: 0 }), detail(1, { config: 1 })]), configs });
  click(el.querySelector('[data-tab="Settings"]'));
  assert.match(text(".mml-tables"), /upstream\.fit–a$/);
  assert.ok(!text(".mml-tables").includes("{}"));
});

test("the name of a metric stands apart from that of its phase, which may be long", async () => {
  const given = pages([row(0, { final: { 0: 0.1, 1: 0.2 } })], [detail(0)]);
  const { el } = await open({ ...given, keys: [["train", "mse", "min"], ["tune", "mse", "min"]] });
  const head = el.querySelector('.mml-th[data-column="0"] button');
  assert.equal(head?.textContent, "train mse");
  assert.deepEqual([...(head?.children ?? [])].map((part) => part.textContent), ["train ", "mse"]);
});
