// Where a library leaves what every widget of a page may use.
// A widget bundle is a module of its own that can import no other, and anywidget's own way
// to another widget gives up after two seconds, which a busy machine may need for Mermaid.

export interface Slot<T> {
  promise: Promise<T>;
  provide(given: T): void;
}

/** The place of that name on this page: what is provided there is waited for by all. */
export function slot<T>(name: string): Slot<T> {
  const page = globalThis as unknown as Record<symbol, Slot<T> | undefined>;
  const key = Symbol.for(name);
  const found = page[key];
  if (found) return found;
  let provide: Slot<T>["provide"] = () => undefined;
  const promise = new Promise<T>((resolve) => (provide = resolve));
  return (page[key] = { promise, provide });
}
