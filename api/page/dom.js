// Builds what the page shows. Text only ever becomes text, never markup.

export const $ = (id) => document.getElementById(id);

const SVG = new Set(["svg", "use", "path", "rect", "line", "title"]);
const SPACE = "http://www.w3.org/2000/svg";

// `--name` sets a CSS variable: the Content-Security-Policy forbids style attributes. What is falsy is left out.
export function make(tag, attributes = {}, ...children) {
  const element = SVG.has(tag) ? document.createElementNS(SPACE, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...solid(children));
  return element;
}

const solid = (children) =>
  children
    .flat(4)
    .filter((child) => child || child === 0)
    .map((child) => (child instanceof Node ? child : String(child)));

// Fingers drop no files, and a keyboard that opens by itself hides the page.
export const by_finger = () => matchMedia("(pointer: coarse)").matches;

export const icon = (name) =>
  make("svg", { class: "icon", "aria-hidden": "true" }, make("use", { href: `#i-${name}` }));

// A button that runs the action of this name; see actions.js.
export function button(action, attributes, ...children) {
  return make("button", { type: "button", "data-do": action, class: "quiet small", ...attributes }, ...children);
}

// Makes the children what `fresh` are and touches only what differs: focus, selection and scrolling stay. A child
// with data-key stays with its key.
export function settle(parent, ...fresh) {
  const nodes = solid(fresh).map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const keyed = new Map([...parent.childNodes].filter(key).map((node) => [key(node), node]));
  const keys = new Set(nodes.map(key));
  // First, so that what stays need not be moved.
  for (const [name, node] of keyed) if (!keys.has(name)) node.remove();
  let at = parent.firstChild;
  for (const node of nodes) {
    const old = key(node) ? keyed.get(key(node)) : at && !key(at) ? at : null;
    if (old && old.nodeName === node.nodeName) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      if (old !== node) become(old, node);
    } else parent.insertBefore(node, at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

const key = (node) => node.dataset?.key;

function become(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What a person has ticked stays, until the page itself means something else.
  if (old.hasAttribute("checked") !== fresh.hasAttribute("checked")) old.checked = fresh.hasAttribute("checked");
  // So do the details that a person has opened.
  for (const { name } of [...old.attributes])
    if (!["style", "open"].includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  settle(old, ...fresh.childNodes);
}

// A live region is read aloud again whenever it is written.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function toast(text) {
  const line = make("p", {}, text);
  $("toasts").replaceChildren(line);
  setTimeout(() => line.remove(), 4000);
}
