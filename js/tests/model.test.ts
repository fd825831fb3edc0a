import assert from "node:assert/strict";
import { test } from "node:test";
import { subscribe, type Numbered } from "../src/shared/model";
import { FakeModel } from "./fake-model";

function subscribed(seq = 0) {
  const model = new FakeModel({ snapshot: { seq } });
  const control = new AbortController();
  const taken: [number, boolean][] = [];
  subscribe<Numbered>(model, control.signal, (patch, isWhole) => taken.push([patch.seq, isWhole]));
  const patch = (n: number) => model.receive({ type: "patch", patch: { seq: n } });
  return { model, control, taken, patch };
}

test("the whole comes first, then each patch once and in order", () => {
  const { taken, patch } = subscribed(3);
  for (const n of [2, 3, 4, 4, 5]) patch(n);
  assert.deepEqual(taken, [[3, true], [4, false], [5, false]]);
});

test("after a gap the rest is shown, and the whole is asked for once", () => {
  const { model, taken, patch } = subscribed();
  for (const n of [1, 4, 6]) patch(n);
  assert.deepEqual(model.sent, [{ type: "resync" }]);
  model.receive({ type: "snapshot", patch: { seq: 6 } });
  patch(9);
  assert.deepEqual(taken.map(([seq]) => seq), [0, 1, 4, 6, 6, 9]);
  assert.equal(model.sent.length, 2);
});

test("a whole that is older than what is shown is not taken", () => {
  const { model, taken, patch } = subscribed();
  for (const n of [1, 2]) patch(n);
  model.receive({ type: "snapshot", patch: { seq: 1 } });
  assert.deepEqual(taken.at(-1), [2, false]);
});

test("nothing is heard once the view is gone", () => {
  const { model, control, taken, patch } = subscribed();
  control.abort();
  patch(1);
  assert.equal(taken.length, 1);
  assert.equal(model.nListeners, 0);
});
