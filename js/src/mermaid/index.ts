// Mermaid as a widget that shows nothing: it is sent once a page, and every graph on the
// page is drawn by it. It knows no graph of ours.
import mermaid from "mermaid";
import { provideDrawer } from "./drawer";

// Boxes are measured with this font before they stand on the page.
const FONT_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const FONT_SIZE = 13;

mermaid.initialize({
  startOnLoad: false,
  securityLevel: "strict",
  suppressErrorRendering: true,
  layout: "dagre",
  theme: "base",
  fontFamily: FONT_FAMILY,
  fontSize: FONT_SIZE,
  themeVariables: { fontFamily: FONT_FAMILY, fontSize: `${FONT_SIZE}px` },
  flowchart: { htmlLabels: true, useMaxWidth: false, nodeSpacing: 34, rankSpacing: 44, padding: 10, curve: "basis" },
});

let nDrawn = 0; // counted here, as each widget is a module of its own
const prefix = `mml-${Math.random().toString(36).slice(2)}`;
const drawer = {
  async draw(text: string): Promise<string> {
    return (await mermaid.render(`${prefix}-${++nDrawn}`, text)).svg;
  },
};
provideDrawer(drawer);

/** anywidget calls this once a model; all is done by then. */
export default function library() {
  return {};
}

export { drawer };
