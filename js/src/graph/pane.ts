// The box in which the picture of a phase is shown. It draws each picture once, when it is
// first asked for, and keeps it; a phase change swaps what is there.
import { element, setAttribute, setText } from "../shared/dom";
import { loadDrawer } from "../mermaid/drawer";
import type { Phase, RunInfo } from "../progress/run";
import { STATUS_WORDS } from "../shared/status";
import { DrawnPicture } from "./picture";
import type { Picture } from "./facts";

const KEPT = 24;
const PADDING = 10; // as in graph.css
const LOWEST = 264; // as in progress.css
const HIGHEST = 0.45; // of the window, so that the chart below is in sight, too

export class GraphPane {
  readonly root = element("div", { class: "mml-graph", role: "img", tabindex: "0" });
  private readonly blank = element("div", { class: "mml-blank" });
  private readonly drawn = new Map<string, DrawnPicture | null>();
  private wanted: { picture: Picture; phase: Phase; info: RunInfo } | null = null;
  private shown: DrawnPicture | null = null;
  private height = LOWEST; // grows only, so that no change of phases moves what is below

  /** `wish` is told how high the pane should be, as soon as a picture needs more than it has. */
  constructor(
    signal: AbortSignal,
    private readonly wish: (px: number) => void,
  ) {
    this.root.append(this.blank);
    const resized = new ResizeObserver(() => this.fit());
    resized.observe(this.root);
    signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  }

  /** Shows the picture of a phase; without one what stands there says so. */
  update(picture: Picture | undefined, phase: Phase | undefined, info: RunInfo): void {
    if (!picture || !phase) {
      this.wanted = null;
      this.swap(null);
      setText(this.blank, "");
      return;
    }
    this.wanted = { picture, phase, info };
    const label = `Graph of ${phase.path.join(" / ")}: ${STATUS_WORDS[phase.status].toLowerCase()}`;
    setAttribute(this.root, "aria-label", label);
    if (this.drawn.has(picture.mermaid)) this.show();
    else void this.draw(picture);
  }

  private show(): void {
    if (!this.wanted) return;
    const drawn = this.drawn.get(this.wanted.picture.mermaid);
    if (!drawn) return;
    drawn.update(this.wanted.phase, this.wanted.info);
    this.swap(drawn);
  }

  private swap(drawn: DrawnPicture | null): void {
    if (drawn === this.shown) return;
    this.shown?.root.remove();
    this.shown = drawn;
    this.blank.hidden = drawn !== null;
    if (drawn) this.root.append(drawn.root);
    this.fit();
  }

  private async draw(picture: Picture): Promise<void> {
    this.drawn.set(picture.mermaid, null);
    if (this.drawn.size > KEPT) this.drawn.delete(this.drawn.keys().next().value as string);
    if (!this.shown) setText(this.blank, "Drawing…");
    try {
      const markup = await (await loadDrawer()).draw(picture.mermaid);
      this.drawn.set(picture.mermaid, new DrawnPicture(picture, markup));
      this.show();
    } catch {
      setText(this.blank, "The graph cannot be drawn here; visualize() shows it.");
    }
  }

  private fit(): void {
    const { clientWidth: width, clientHeight: height } = this.root;
    if (!this.shown || !width) return;
    const wanted = Math.min(this.shown.heightFor(width - 2 * PADDING) + 2 * PADDING, HIGHEST * window.innerHeight);
    this.height = Math.max(this.height, Math.ceil(wanted));
    this.wish(this.height);
    this.shown.fit(width - 2 * PADDING, height - 2 * PADDING);
  }
}
