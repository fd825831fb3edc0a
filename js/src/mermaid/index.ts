// Mermaid as a widget that shows nothing: it is sent once a page, and every graph on the
// page draws with what its `initialize` returns. It knows no graph of ours.
import mermaid from "mermaid";
import { FONT_FAMILY, FONT_SIZE } from "./font";

export interface Drawer {
  /** The SVG element of a Mermaid text, as markup; ids in it begin with `id`. */
  draw(id: string, text: string): Promise<string>;
}

/** anywidget calls this once a model. */
export default function library() {
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
  const drawer: Drawer = {
    async draw(id, text) {
      return (await mermaid.render(id, text)).svg;
    },
  };
  return { initialize: () => drawer };
}
