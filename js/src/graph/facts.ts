// What each box of a picture says while its phase runs: a state and one short fact.
// It knows no DOM.
import { percent, rate, value } from "../shared/format";
import type { Phase, RunInfo } from "../progress/run";

export interface Box {
  id: string;
  kind: string;
  name: string | null;
}

/** A phase's picture as Python sends it, once. */
export interface Picture {
  index: number;
  mermaid: string;
  boxes: Box[];
}

export type State = "queued" | "running" | "done" | "frozen" | "failed" | "interrupted";

export function stateOf(box: Box, phase: Phase): State {
  if (phase.status === "waiting") return "queued";
  if (phase.status === "failed") return "failed";
  if (phase.status === "stopped" || phase.status === "interrupted") return "interrupted";
  if (box.kind === "ModelNodeFrozen") return "frozen";
  return phase.status === "running" ? "running" : "done";
}

/** What matters of a box now, e.g. `0.0123` of a loss; empty where there is nothing to say. */
export function factOf(box: Box, phase: Phase, info: RunInfo): string {
  if (phase.status === "waiting") return "";
  const isCurrent = phase.status === "running" && info.current === phase.index;
  switch (box.kind) {
    case "AppliedLoss": {
      const loss = phase.metrics[box.name ?? ""];
      return loss === undefined ? "" : value(loss);
    }
    case "FeatureSampler":
      if (isCurrent && phase.drawing) return "drawing…";
      if (!phase.batches || !isCurrent) return "";
      return info.quick ? batches(phase.batches) : `batch ${phase.batch} / ${phase.batches}`;
    case "FeatureSet":
      return isCurrent && info.rows !== null ? `${rate(info.rows)} rows/s` : "";
    case "ModelNode":
    case "ModelNodeFrozen":
      return nodeFact(box, phase);
    default:
      return "";
  }
}

function batches(count: number): string {
  return `${count} ${count === 1 ? "batch" : "batches"}`;
}

function nodeFact(box: Box, phase: Phase): string {
  const name = box.name ?? "";
  if (phase.work?.label === name) return `${phase.work.what.toLowerCase()} ${percent(phase.work.fraction) || "…"}`;
  const speed = phase.rates[`lr/${name}`] ?? phase.rates["lr"];
  const device = phase.devices[name];
  const parts = [
    box.kind === "ModelNodeFrozen" ? "frozen" : speed === undefined ? "" : `lr ${short(speed)}`,
    device ?? "",
  ];
  return parts.filter(Boolean).join(" · ");
}

/** A learning rate as people write it: `0.001`, `3e-5`. */
function short(number: number): string {
  const rounded = Number(number.toPrecision(3));
  return rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded);
}
