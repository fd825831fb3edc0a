// What a phase's chart draws, as plain data: which lines, in which order and colour,
// and how far the axis reaches. It knows no DOM and no canvas.
import type { Line } from "../shared/lines";
import type { Phase, Run, Trace } from "./run";

/** A line of a phase; colour 0 is that of the first loss, 1 that of the validation loss. */
export type Curve = Line;

const VALIDATION = 1;

/** What the axis counts: a phase of one epoch is measured in batches. */
export function unitOf(phase: Phase): "epoch" | "batch" {
  return phase.epochs === 1 && phase.batches > 0 ? "batch" : "epoch";
}

/** The lines of a phase: each loss a batch, then each loss an epoch, then validation. */
export function curvesOf(phase: Phase, traces: readonly Trace[]): Curve[] {
  const scale = unitOf(phase) === "batch" ? phase.batches : 1;
  const colored = traces
    .filter((trace) => trace.x.length > 0)
    .map((trace) => ({ ...trace, x: trace.x.map((x) => x * scale), color: colorOf(phase, trace.name), isRight: isRight(phase, trace.name) }));
  const rank = (curve: Curve) => (curve.per === "step" ? 0 : 100) + curve.color;
  return colored.sort((a, b) => rank(a) - rank(b));
}

/** The lines of the same phase in other folds, which stand behind those of this one. */
export function foldsOf(phase: Phase, run: Run): Curve[] {
  const isFold = (other: Phase) => other !== phase && other.family.join("/") === phase.family.join("/");
  return run.phases.filter(isFold).flatMap((fold) => {
    const curves = curvesOf(fold, run.tracesOf(fold)).filter((curve) => curve.per === "epoch" || fold.epochs === 1);
    return curves.map((curve) => ({ ...curve, isBehind: true }));
  });
}

/** Metrics stand at the right where there are losses: neither says anything on the axis of the other. */
export function isRight(phase: Phase, name: string): boolean {
  const { losses, validation } = phase;
  return losses.length > 0 && ![...losses, validation].includes(name.replace(/^val_/, "")) && name !== validation && !name.endsWith("loss");
}

/** The first loss, validation, the other losses, then the other metrics have the colours in order. */
export function colorOf(phase: Phase, name: string): number {
  if (name === phase.validation) return VALIDATION;
  const others = Object.keys(phase.metrics).filter((one) => one !== phase.validation && !phase.losses.includes(one));
  const place = [...phase.losses, ...others].indexOf(name);
  return place > 0 ? place + 1 : 0;
}

/**
 * Where the axis ends: at the last epoch (or batch) planned, or for a long plan at a half,
 * a quarter ... of it, so that it grows in few and calm steps.
 */
export function axisEnd(phase: Phase, curves: readonly Curve[]): number {
  const reached = Math.max(0, ...curves.map((curve) => curve.x.at(-1) ?? 0));
  if (phase.status !== "running") return Math.max(reached, 1);
  let end = unitOf(phase) === "batch" ? phase.batches : phase.epochs;
  while (end > 10 && end / 2 >= reached) end = Math.ceil(end / 2);
  return Math.max(end, reached);
}
