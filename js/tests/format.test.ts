import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, duration, estimate, rate, tick, value } from "../src/shared/format";

test("a clock counts hours only when there are some", () => {
  assert.deepEqual([0, 7.9, 754, 3723].map(clock), ["0:00", "0:07", "12:34", "1:02:03"]);
});

test("a duration is told in its own unit, also where rounding reaches the next", () => {
  assert.deepEqual([0.0081, 0.9996, 1.24, 59.96, 125].map(duration), ["8 ms", "1.0 s", "1.2 s", "0:59", "2:05"]);
});

test("an estimate is no finer than it can be", () => {
  assert.deepEqual([0, 4.4, 33, 57.4, 58, 130, 4800, 7200].map(estimate), [
    "1 s", "4 s", "35 s", "55 s", "1 min", "2 min", "1 h 20 min", "2 h",
  ]);
});

test("a value has four significant digits, and what is no number keeps its name", () => {
  assert.deepEqual([0.123456, 12.3456, 123456.7, 1e-7, 0, -0.5].map(value), [
    "0.1235", "12.35", "123457", "1.000e-7", "0", "-0.5000",
  ]);
  assert.deepEqual(["nan", "inf"].map(value), ["nan", "inf"]);
});

test("a place on an axis is told exactly, however small it is", () => {
  const places = [null, 0, 0.1 + 0.2, -0.00025, 0.00001, 2000, 1e7];
  assert.deepEqual(places.map(tick), ["", "0", "0.3", "-0.00025", "1e-5", "2000", "1e7"]);
});

test("a speed is short", () => {
  assert.deepEqual([0.251, 8.26, 1234.4].map(rate), ["0.25", "8.3", "1,234"]);
});
