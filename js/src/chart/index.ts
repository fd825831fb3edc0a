// The library of curves: sent once a page, used by every widget that draws some.
import { Chart } from "../shared/chart";
import { provideChart } from "../shared/library";

provideChart(Chart);

/** anywidget calls this once a model; all is done by then. */
export default function library() {
  return {};
}
