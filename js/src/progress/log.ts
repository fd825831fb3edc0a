// The last lines that were logged, and warnings, while the run went on: one line, and the
// rest of them over the chart when it is asked for.
import { element, setAttribute, setText, sync } from "../shared/dom";
import type { LogLine } from "./run";

export class LogStrip {
  readonly root = element("details", { class: "mml-log" });
  private readonly last = element("summary");
  private readonly lines = element("ol");

  constructor() {
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.root.append(this.last, this.lines);
  }

  update(log: readonly LogLine[]): void {
    const last = log.at(-1);
    setAttribute(this.root, "data-empty", last ? null : "");
    setAttribute(this.last, "data-level", last?.level ?? null);
    setText(this.last, last ? textOf(last) : "No messages");
    setAttribute(this.last, "tabindex", last ? null : "-1"); // there is nothing to open yet
    setAttribute(this.last, "title", last ? textOf(last) : null);
    sync(this.lines, log, () => element("li"), (item, line) => {
      setAttribute(item, "data-level", line.level);
      setText(item, textOf(line));
    });
  }
}

function textOf(line: LogLine): string {
  return `${line.level.toLowerCase()}: ${line.text}`;
}
