// Making and patching elements. Texts are set as text, never as markup.

type Child = Node | string;

/** Makes an element; `class` and other attributes by name, children as nodes or text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets the text if it differs, so that nothing is laid out in vain. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Sets the attribute if it differs; null takes it away. */
export function setAttribute(target: Element, name: string, value: string | null): void {
  if (value === null) target.removeAttribute(name);
  else if (target.getAttribute(name) !== value) target.setAttribute(name, value);
}

/** Makes `host` have one child for each item, reusing those it has. */
export function sync<T, E extends Element>(
  host: Element,
  items: readonly T[],
  make: () => E,
  update: (child: E, item: T, index: number) => void,
): void {
  while (host.children.length > items.length) host.lastElementChild?.remove();
  while (host.children.length < items.length) host.append(make());
  items.forEach((item, i) => update(host.children[i] as E, item, i));
}
