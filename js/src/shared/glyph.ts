// The sign of a state: a ring that fills while it runs, then a mark of its own.
// The shape tells the state; the colour only repeats it.
import { setAttribute } from "./dom";
import type { Status } from "./status";

const SVG = "http://www.w3.org/2000/svg";
const MARKS: Partial<Record<Status, string>> = {
  completed: "M5 8.3 7.1 10.4 11 6.1",
  stopped: "M6 6H10V10H6Z",
  interrupted: "M6 6H10V10H6Z",
  failed: "M5.8 5.8 10.2 10.2M10.2 5.8 5.8 10.2",
};

export function makeGlyph(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "mml-glyph");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  for (const part of ["track", "arc"]) {
    const circle = document.createElementNS(SVG, "circle");
    for (const [name, value] of Object.entries({ class: part, cx: "8", cy: "8", r: "6", pathLength: "100" })) {
      circle.setAttribute(name, value);
    }
    svg.append(circle);
  }
  const mark = document.createElementNS(SVG, "path");
  mark.setAttribute("class", "mark");
  svg.append(mark);
  return svg;
}

/** A `fraction` of null is not known: the ring turns. */
export function setGlyph(svg: SVGSVGElement, status: Status, fraction: number | null): void {
  const [, arc, mark] = svg.children as unknown as [Element, Element, Element];
  setAttribute(svg, "data-status", status);
  setAttribute(svg, "data-vague", fraction === null ? "" : null);
  setAttribute(arc, "stroke-dasharray", `${((fraction ?? 0.25) * 100).toFixed(1)} 100`);
  setAttribute(mark, "d", MARKS[status] ?? null);
}
