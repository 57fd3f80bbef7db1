/* Elements from words: text is always text, never markup. */

export const at = (id) => document.getElementById(id);

/** An element with properties and children (elements or text). */
export function made(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** Show or hide an element. */
export function show(element, shown) {
  element.hidden = !shown;
}
