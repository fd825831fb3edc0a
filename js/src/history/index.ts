// The entry of the browser of runs. In a notebook it puts itself over the static form that is
// there already, and gives it back when it ends, so that what is saved needs no kernel; on a
// page of its own it reads what lies in that page.
import "../shared/theme.css";
import "../shared/chart.css";
import "../shared/glyph.css";
import "./history.css";
import type { WidgetModel } from "../shared/model";
import { Book, liveBook, type Pages } from "./book";
import { RunBrowser } from "./browser";

interface Props {
  model: WidgetModel;
  signal: AbortSignal;
}

/** anywidget calls this once a model. */
export default function history() {
  return {
    initialize({ model, signal }: Props): void {
      const book = liveBook(model, signal);
      const token = String(model.get("token"));
      const covered = new WeakSet<Element>();
      const sweep = () => {
        for (const host of document.getElementsByClassName(token)) {
          if (covered.has(host)) continue;
          covered.add(host);
          cover(host as HTMLElement, book, signal);
        }
      };
      // The output may come later than the model, be drawn anew, or be shown in a second place.
      const watching = new MutationObserver(sweep);
      watching.observe(document.body, { childList: true, subtree: true });
      signal.addEventListener("abort", () => watching.disconnect(), { once: true });
      sweep();
    },
  };
}

function cover(host: HTMLElement, book: Book, signal: AbortSignal): void {
  const { root } = new RunBrowser(book, signal);
  host.before(root);
  host.hidden = true;
  signal.addEventListener("abort", () => {
    root.remove();
    host.hidden = false;
  }, { once: true });
}

/** Shows the runs that lie in this page, where it is one of ours. */
function openPage(): void {
  const data = document.getElementById("modularml-runs");
  if (!data || !document.body.classList.contains("modularml-page")) return;
  const book = new Book(() => undefined);
  book.take(JSON.parse(data.textContent ?? "") as Pages, true);
  document.body.append(new RunBrowser(book, new AbortController().signal).root);
}

openPage();
