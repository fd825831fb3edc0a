// The entry of the progress panel: one run a model, any number of views of it.
import "../shared/theme.css";
import "../shared/chart.css";
import "../shared/glyph.css";
import "../graph/graph.css";
import "./progress.css";
import { listen, subscribe, type WidgetModel } from "../shared/model";
import { Panel } from "./panel";
import { Run, type RunPatch } from "./run";

interface Props {
  model: WidgetModel;
  signal: AbortSignal;
}

/** anywidget calls this once a model. */
export default function progress() {
  const run = new Run();
  return {
    initialize({ model, signal }: Props): void {
      subscribe<RunPatch>(model, signal, (patch, isWhole) => run.apply(patch, isWhole));
      listen(model, "comm_live_update", signal, () => run.lose());
    },
    render({ model, signal, el }: Props & { el: HTMLElement }): void {
      el.append(new Panel(run, model, signal).root);
    },
  };
}
