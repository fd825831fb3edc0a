// A page for tests in node: happy-dom, and a canvas that takes every call and draws nothing.
import { Window } from "happy-dom";

const page = new Window({ width: 1000, height: 800 });
const canvas = new Proxy({}, { get: () => () => ({ width: 0 }), set: () => true });
Object.assign(page.HTMLCanvasElement.prototype, { getContext: () => canvas });
Object.assign(globalThis, {
  window: page,
  document: page.document,
  Element: page.Element,
  HTMLElement: page.HTMLElement,
  MutationObserver: page.MutationObserver,
  ResizeObserver: page.ResizeObserver,
  getComputedStyle: page.getComputedStyle.bind(page),
  requestAnimationFrame: (callback: () => void) => setTimeout(callback, 0),
  matchMedia: page.matchMedia.bind(page),
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
  CustomEvent: page.CustomEvent,
  KeyboardEvent: page.KeyboardEvent,
  MouseEvent: page.MouseEvent,
  Path2D: class {
    rect() {}
    moveTo() {}
    lineTo() {}
    arc() {}
  },
  devicePixelRatio: 1,
});
Object.defineProperty(globalThis, "navigator", { value: page.navigator, configurable: true });

/** Lets frames and timers of no delay pass. */
export function settle(ms = 5): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
