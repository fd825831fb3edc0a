// The line above the chart: names, colours and values, of now or of where the mouse is.
import { element, setAttribute, setText, sync } from "../shared/dom";
import { value } from "../shared/format";
import { N_COLORS, valueAt } from "../shared/lines";
import { colorOf, unitOf, type Curve } from "./curves";
import type { Phase } from "./run";

export class Legend {
  readonly root = element("div", { class: "mml-legend" });
  private readonly title = element("span", { class: "mml-legend-title" });
  private readonly items = element("div", { class: "mml-legend-items" });

  constructor() {
    this.root.append(this.title, this.items);
  }

  /** Shows the values at `x`, or the last ones where `x` is null. */
  update(phase: Phase, curves: readonly Curve[], x: number | null): void {
    setText(this.title, x === null ? phase.path.join(" / ") : placeOf(phase, x));
    sync(this.items, Object.keys(phase.metrics), makeItem, (item, name) => {
      const curve = curves.findLast((one) => one.name === name);
      const number = x === null || !curve ? phase.metrics[name] : valueAt(curve, x);
      const [swatch, label, figure] = item.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
      swatch.hidden = !curve;
      const color = colorOf(phase, name);
      swatch.style.setProperty("--mml-color", `var(--mml-series-${(color % N_COLORS) + 1})`);
      setAttribute(swatch, "data-dashed", color < N_COLORS ? null : "");
      setText(label, curve?.isRight ? `${name} (right)` : name);
      setText(figure, number == null ? "–" : value(number));
    });
  }
}

/** A name and its figure; the space between them is for those who hear or copy it. */
export function makePair(): [Element, string, Element] {
  return [element("span", { class: "mml-name" }), " ", element("span", { class: "mml-figure" })];
}

function makeItem(): HTMLElement {
  return element("span", { class: "mml-legend-item" }, element("span", { class: "mml-swatch" }), ...makePair());
}

function placeOf(phase: Phase, x: number): string {
  return unitOf(phase) === "batch" ? `batch ${Math.max(1, Math.round(x))}` : `epoch ${Math.max(1, Math.ceil(x))}`;
}
