// The Stop button. A kernel that is busy in the cell does not hear messages: when no
// answer comes, the kernel is interrupted, which a run takes as "stop after this batch".
import { element, setAttribute, setText } from "../shared/dom";
import { listen, type WidgetModel } from "../shared/model";
import type { Run } from "./run";

const ANSWER_MS = 300;
const NO_KERNEL = "No kernel to reach from here: use Interrupt (■) in the toolbar.";

export class StopButton {
  readonly root = element("button", { class: "mml-stop", type: "button" }, "Stop");
  private isAsked = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly model: WidgetModel,
    private readonly run: Run,
    signal: AbortSignal,
    private readonly tell: (text: string) => void,
  ) {
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.root.addEventListener("click", () => this.ask(), { signal });
    const hear = (message: { type: string }) => {
      if (message.type === "stopping") this.settle();
    };
    listen(model, "msg:custom", signal, hear as (...args: never[]) => void);
    signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  update(): void {
    if (!this.run.isRunning) clearTimeout(this.timer);
    this.root.hidden = !this.run.isRunning;
    setText(this.root, this.isAsked ? "Stopping…" : "Stop");
    setAttribute(this.root, "aria-disabled", this.isAsked ? "true" : null);
    setAttribute(this.root, "aria-label", this.isAsked ? "Stopping after this batch" : `Stop run ${this.run.info.label}`);
  }

  private ask(): void {
    if (this.isAsked || !this.run.isRunning) return;
    this.isAsked = true;
    this.update();
    this.model.send({ type: "stop", run: this.run.info.id });
    this.timer = setTimeout(() => this.interrupt(), ANSWER_MS);
  }

  private settle(): void {
    clearTimeout(this.timer);
    this.isAsked = true;
    this.update();
  }

  private interrupt(): void {
    const kernel = this.model.widget_manager?.kernel;
    if (!kernel?.interrupt) return this.giveUp();
    kernel.interrupt().catch(() => this.giveUp());
  }

  private giveUp(): void {
    this.isAsked = false;
    this.update();
    this.tell(NO_KERNEL);
  }
}
