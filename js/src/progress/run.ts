// A run as the browser knows it: the whole, kept up to date by patches.
// It knows no DOM.
import type { Picture } from "../graph/facts";
import type { Numbered } from "../shared/model";
import type { Status } from "../shared/status";

export interface RunInfo {
  id: string;
  label: string;
  preview: boolean;
  status: Status;
  error: string | null;
  current: number | null;
  elapsed: number;
  left: number | null;
  rate: number | null;
  rows: number | null;
  /** Whether epochs go by faster than they are drawn, so that any count of their batches is chance. */
  quick: boolean;
  graph: boolean;
}

/** A line of a log, or a warning, that came while the run went on. */
export interface LogLine {
  level: string;
  text: string;
}

export interface Phase {
  index: number;
  path: string[];
  /** The path without the labels of folds, which it has in common with itself in other folds. */
  family: string[];
  kind: "train" | "eval" | "fit" | "group";
  status: Status;
  epochs: number;
  epoch: number;
  batches: number;
  batch: number;
  duration: number | null;
  losses: string[];
  metrics: Record<string, number | string>;
  picture: number | null;
  /** The best epoch so far, from 1, where something watches for it. */
  best: number | null;
  /** What else there is to say of its state, e.g. that it ended early. */
  note: string;
  /** Whether the batches of an epoch are being drawn, which takes its time. */
  drawing: boolean;
  /** The metric that is drawn in the colour of validation. */
  validation: string;
  /** What it waits for, e.g. the fit of an estimator, and the share of that which is done, if known. */
  work: { what: string; label: string; fraction: number | null } | null;
  rates: Record<string, number>;
  devices: Record<string, string>;
}

export interface Points {
  phase: number;
  name: string;
  per: "step" | "epoch";
  start: number;
  x: number[];
  y: (number | null)[];
}

export interface RunPatch extends Numbered {
  run: RunInfo;
  phases: Phase[];
  traces: Points[];
  pictures: Picture[];
  /** All of the last lines, if there are new ones. */
  log: LogLine[] | null;
}

export interface Trace {
  name: string;
  per: "step" | "epoch";
  x: number[];
  y: (number | null)[];
}

export class Run {
  info!: RunInfo;
  phases: Phase[] = [];
  log: LogLine[] = [];
  isLost = false;
  private pictures: Picture[] = [];
  private traces = new Map<number, Map<string, Trace>>();
  private receivedAt = 0;
  private listeners = new Set<() => void>();

  apply(patch: RunPatch, isWhole: boolean): void {
    if (isWhole) {
      this.phases = [];
      this.pictures = [];
      this.traces.clear();
    }
    this.info = patch.run;
    this.receivedAt = performance.now();
    for (const phase of patch.phases) this.phases[phase.index] = phase;
    if (patch.log) this.log = patch.log;
    for (const picture of patch.pictures) this.pictures[picture.index] = picture;
    for (const points of patch.traces) this.addPoints(points);
    for (const listener of this.listeners) listener();
  }

  /** The kernel is gone: nothing will come any more, and what ran ended with it. */
  lose(): void {
    if (!this.isRunning) return;
    this.isLost = true;
    this.info = { ...this.info, status: "interrupted", elapsed: this.info.elapsed + this.sinceLast };
    this.phases = this.phases.map((phase) => (phase.status === "running" ? { ...phase, status: "interrupted" } : phase));
    for (const listener of this.listeners) listener();
  }

  onChange(listener: () => void, signal: AbortSignal): void {
    this.listeners.add(listener);
    signal.addEventListener("abort", () => this.listeners.delete(listener), { once: true });
  }

  get isRunning(): boolean {
    return this.info.status === "running";
  }

  /** Seconds since the last message while running: clocks go on between messages. */
  get sinceLast(): number {
    return this.isRunning ? (performance.now() - this.receivedAt) / 1000 : 0;
  }

  tracesOf(phase: Phase): Trace[] {
    return [...(this.traces.get(phase.index)?.values() ?? [])];
  }

  pictureOf(phase: Phase | undefined): Picture | undefined {
    return phase && phase.picture !== null ? this.pictures[phase.picture] : undefined;
  }

  /** The share of the plan that is done, from 0 to 1; an epoch counts one, other phases a half. */
  get fraction(): number {
    let total = 0;
    let done = 0;
    for (const phase of this.phases) {
      if (phase.kind === "group") continue;
      const weight = phase.kind === "train" ? phase.epochs : 0.5;
      total += weight;
      done += weight * fractionOf(phase);
    }
    return total ? done / total : 0;
  }

  private addPoints(points: Points): void {
    const ofPhase = this.traces.get(points.phase) ?? new Map<string, Trace>();
    this.traces.set(points.phase, ofPhase);
    const key = `${points.per}/${points.name}`;
    const trace = ofPhase.get(key) ?? { name: points.name, per: points.per, x: [], y: [] };
    ofPhase.set(key, trace);
    trace.x.length = trace.y.length = Math.min(points.start, trace.x.length);
    trace.x.push(...points.x);
    trace.y.push(...points.y);
  }
}

/** The share of a phase that is done, from 0 to 1. */
export function fractionOf(phase: Phase): number {
  if (phase.status === "waiting") return 0;
  if (phase.status !== "running") return 1;
  const part = phase.kind === "fit" ? (phase.work?.fraction ?? 0) : phase.batches ? phase.batch / phase.batches : 0;
  return Math.min(1, (Math.max(phase.epoch, 1) - 1 + part) / Math.max(phase.epochs, 1));
}

/** Whether a phase runs without telling how far it is. */
export function isVague(phase: Phase | undefined): boolean {
  return phase?.status === "running" && (phase.kind === "fit" ? phase.work?.fraction == null : phase.batches === 0);
}
