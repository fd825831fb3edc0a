// How widgets reach Mermaid, which a page loads once.
import { slot } from "../shared/slot";

export interface Drawer {
  /** The SVG element of a Mermaid text, as markup; no other on the page has its ids. */
  draw(text: string): Promise<string>;
}

declare const MERMAID_VERSION: string;

const drawer = () => slot<Drawer>(`modularml.mermaid/${MERMAID_VERSION}`);

/** Makes Mermaid known to the page. */
export function provideDrawer(given: Drawer): void {
  drawer().provide(given);
}

/** Waits until the page has Mermaid. */
export function loadDrawer(): Promise<Drawer> {
  return drawer().promise;
}
