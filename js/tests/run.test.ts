import assert from "node:assert/strict";
import { test } from "node:test";
import recorded from "../../tests/fixtures/progress_run.json";
import { axisEnd, curvesOf, foldsOf } from "../src/progress/curves";
import { canBeLog, isWide, leftOf, logEnds, valueAt } from "../src/shared/lines";
import { fractionOf, isVague, Run, type Phase, type RunPatch } from "../src/progress/run";
import { factOf } from "../src/graph/facts";

// What Python sends for one run, and what it hands to a page that connects at its end.
const patches = recorded.patches as unknown as RunPatch[];
const whole = recorded.snapshot as unknown as RunPatch;

function played(...given: RunPatch[]): Run {
  const run = new Run();
  given.forEach((patch, i) => run.apply(patch, i === 0));
  return run;
}

function content(run: Run) {
  return { info: run.info, phases: run.phases, traces: run.phases.map((phase) => run.tracesOf(phase)) };
}

function phaseOf(changes: Partial<Phase>): Phase {
  return { ...(whole.phases[0] as Phase), ...changes };
}

test("the patches of a run add up to what a page gets that connects at its end", () => {
  assert.deepEqual(content(played(...patches)), content(played(whole)));
});

test("a patch may come twice, or after a whole that holds its points", () => {
  const twice = patches.flatMap((patch, i) => (i ? [patch, patch] : [patch]));
  assert.deepEqual(content(played(...twice)), content(played(whole)));
  assert.deepEqual(content(played(whole, patches.at(-1) as RunPatch)), content(played(whole)));
});

test("the share that is done grows from nothing to all", () => {
  const run = new Run();
  const shares = patches.map((patch, i) => (run.apply(patch, i === 0), run.fraction));
  assert.deepEqual(shares, [...shares].sort((a, b) => a - b));
  assert.equal(shares[0], 0);
  assert.equal(shares.at(-1), 1);
});

test("a phase counts its epochs and the batches of the present one", () => {
  assert.equal(fractionOf(phaseOf({ status: "running", epochs: 4, epoch: 2, batches: 10, batch: 5 })), 0.375);
  assert.equal(fractionOf(phaseOf({ status: "waiting" })), 0);
  assert.equal(fractionOf(phaseOf({ status: "failed", epoch: 1 })), 1);
});

test("lines are drawn from the faint to the important, losses in the colours of their order", () => {
  const phase = phaseOf({ losses: ["mse", "mae"], epochs: 3, validation: "val_loss" });
  const trace = (name: string, per: "step" | "epoch") => ({ name, per, x: [1], y: [1] });
  const curves = curvesOf(phase, [trace("val_loss", "epoch"), trace("mae", "epoch"), trace("mse", "epoch"), trace("mse", "step")]);
  assert.deepEqual(curves.map(({ per, name, color }) => [per, name, color]), [
    ["step", "mse", 0], ["epoch", "mse", 0], ["epoch", "val_loss", 1], ["epoch", "mae", 2],
  ]);
});

test("metrics stand at the right where there are losses, and leave the left axis to those", () => {
  const phase = phaseOf({ losses: ["mse"], epochs: 3, validation: "val_loss" });
  const names = ["mse", "val_loss", "val_mse", "val_r2"];
  const traces = names.map((name) => ({ name, per: "epoch" as const, x: [1], y: [name === "val_r2" ? -9 : 1e-3] }));
  const curves = curvesOf(phase, traces);
  assert.deepEqual(curves.filter((curve) => curve.isRight).map((curve) => curve.name), ["val_r2"]);
  assert.ok(canBeLog(leftOf(curves)) && !canBeLog(curves));
  assert.ok(!curvesOf(phaseOf({ losses: [], epochs: 3 }), traces).some((curve) => curve.isRight));
});

test("the axis of a long plan grows in halves; that of one epoch counts batches", () => {
  const at = (x: number) => [{ name: "mse", per: "step" as const, x: [x], y: [1], color: 0 }];
  const long = phaseOf({ status: "running", epochs: 100 });
  assert.deepEqual([1, 7.5, 12, 60].map((x) => axisEnd(long, at(x))), [7, 13, 13, 100]);
  const single = phaseOf({ status: "running", epochs: 1, batches: 8 });
  const [curve] = curvesOf(single, [{ name: "mse", per: "step", x: [0.5], y: [1] }]);
  assert.deepEqual(curve?.x, [4]);
  assert.equal(axisEnd(single, curve ? [curve] : []), 8);
});

test("a curve has the value of the point before", () => {
  const curve = { x: [1, 2, 3], y: [10, null, 30] };
  assert.deepEqual([0.5, 1, 2.5, 9].map((x) => valueAt(curve, x)), [undefined, 10, null, 30]);
});

test("only what is positive and spans much is drawn on a logarithmic axis", () => {
  const of = (...y: (number | null)[]) => isWide([{ x: y.map((_, i) => i), y }]);
  assert.deepEqual([of(), of(1, null), of(1, 25), of(1, 35), of(100, 0), of(100, -1)], [false, false, false, true, false, false]);
});

test("a logarithmic axis begins and ends near its values", () => {
  const near = ([low, high]: [number, number]) => [low.toPrecision(3), high.toPrecision(3)];
  assert.deepEqual(near(logEnds(0.26, 10.57)), ["0.200", "20.0"]);
  assert.deepEqual(near(logEnds(0.3, 1000)), ["0.300", "1.00e+3"]);
  assert.deepEqual(near(logEnds(5, 5)), ["5.00", "6.00"]);
  assert.deepEqual([logEnds(null, null), logEnds(0, 1)], [[1, 10], [1, 10]]);
});

test("a fit is as far as its estimator tells, and vague where that does not", () => {
  const of = (fraction: number | null) =>
    phaseOf({ kind: "fit", status: "running", epochs: 1, epoch: 1, batches: 1, batch: 0, rates: {}, devices: {}, work: { what: "Fitting", label: "forest", fraction } });
  assert.deepEqual([isVague(of(null)), isVague(of(0.25)), fractionOf(of(0.25))], [true, false, 0.25]);
  const fact = (phase: Phase, name: string) => factOf({ id: "n0", kind: "ModelNode", name }, phase, whole.run);
  assert.deepEqual([fact(of(0.25), "forest"), fact(of(null), "forest"), fact(of(0.25), "other")], ["fitting 25%", "fitting …", ""]);
});

/** A run in two folds: the first is over, the second has begun and has no curve yet. */
function inFolds(): Run {
  const [train, ...others] = whole.phases as [Phase, ...Phase[]];
  const first = { ...train, path: ["fold_0", "train"], family: ["train"] };
  const second = { ...first, index: whole.phases.length, path: ["fold_1", "train"], status: "running" as const };
  return played({ ...whole, phases: [first, ...others, second] });
}

test("the same phase of other folds stands behind, by its epochs, and nothing else does", () => {
  const run = inFolds();
  const [first, evaluation] = run.phases as [Phase, Phase];
  const behind = foldsOf(run.phases.at(-1) as Phase, run);
  assert.deepEqual(behind.map((curve) => [curve.name, curve.per, curve.isBehind]), [["mse", "epoch", true], ["val_loss", "epoch", true]]);
  assert.deepEqual(foldsOf(first, run), []);
  assert.deepEqual(foldsOf(evaluation, run), []);
});
