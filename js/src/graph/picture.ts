// One Mermaid picture on the page: drawn once; from then on attributes say the state of
// each box, and a chip at its lower edge what it is about. Neither moves anything.
import { element, setAttribute, setText } from "../shared/dom";
import type { Phase, RunInfo } from "../progress/run";
import { factOf, stateOf, type Picture } from "./facts";

const LEAST_SCALE = 0.6;
const ROOM_BELOW = 18; // for the chips of the lowest boxes

interface Part {
  group: SVGGElement;
  chip: HTMLElement;
}

export class DrawnPicture {
  readonly root = element("div", { class: "mml-picture" });
  private readonly svg: SVGSVGElement;
  private readonly parts = new Map<string, Part>();
  private readonly width: number;
  private readonly height: number;

  constructor(
    private readonly picture: Picture,
    markup: string,
  ) {
    this.root.innerHTML = markup; // drawn by Mermaid, which sanitizes what stands in its texts
    this.svg = this.root.querySelector("svg") as SVGSVGElement;
    const [, , width = 1, height = 1] = (this.svg.getAttribute("viewBox") ?? "").split(" ").map(Number);
    this.width = width;
    this.height = height;
    this.svg.setAttribute("aria-hidden", "true");
    for (const group of this.svg.querySelectorAll<SVGGElement>("g.node")) {
      const id = /-flowchart-(.+)-\d+$/.exec(group.id)?.[1];
      if (id === undefined) continue;
      const chip = element("span", { class: "mml-chip" });
      this.parts.set(id, { group, chip });
      this.root.append(chip);
    }
  }

  /** Shows the boxes as they are in `phase`. */
  update(phase: Phase, info: RunInfo): void {
    const flows = phase.status === "running" && info.current === phase.index && info.status === "running";
    setAttribute(this.root, "data-flows", flows ? "" : null);
    for (const box of this.picture.boxes) {
      const part = this.parts.get(box.id);
      if (!part) continue;
      const state = stateOf(box, phase);
      const fact = factOf(box, phase, info);
      setAttribute(part.group, "data-state", state);
      setAttribute(part.chip, "data-state", state);
      setText(part.chip, fact);
      part.chip.hidden = fact === "";
    }
  }

  /** How high the picture is where it is as wide as it may be. */
  heightFor(width: number): number {
    return Math.ceil(this.height * Math.max(Math.min(1, width / this.width), LEAST_SCALE)) + ROOM_BELOW;
  }

  /** Makes the picture as large as it may be; where it stays too wide, its box scrolls. */
  fit(width: number, height: number): void {
    const wanted = Math.min(1, width / this.width, (height - ROOM_BELOW) / this.height);
    const scale = Math.max(wanted, LEAST_SCALE);
    const [w, h] = [this.width * scale, this.height * scale];
    this.svg.setAttribute("width", String(w));
    this.svg.setAttribute("height", String(h));
    this.root.style.width = `${w}px`;
    this.root.style.height = `${h + ROOM_BELOW}px`;
    for (const { group, chip } of this.parts.values()) {
      const [x, y] = centreOf(group);
      chip.style.left = `${x * scale}px`;
      chip.style.top = `${(y + halfHeightOf(group)) * scale}px`;
    }
  }
}

function centreOf(group: SVGGElement): [number, number] {
  const [x = 0, y = 0] = (group.getAttribute("transform")?.match(/-?[\d.]+/g) ?? []).map(Number);
  return [x, y];
}

function halfHeightOf(group: SVGGElement): number {
  const shape = group.querySelector<SVGGraphicsElement>(".label-container, .basic");
  return shape ? shape.getBBox().height / 2 : 0;
}
