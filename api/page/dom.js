// Small helpers to build what the page shows. Text only ever becomes text, never markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Makes the children what `fresh` are and touches only what differs: focus, selection and scrolling stay. A child
// with data-key stays with its key. What listens must be outside, as the old elements live on.
export function settle(parent, fresh) {
  const keys = new Set(fresh.map(key));
  for (const old of [...parent.childNodes]) if (key(old) && !keys.has(key(old))) old.remove();
  let at = parent.firstChild;
  for (const node of fresh) {
    if (at?.nodeName === node.nodeName && key(at) === key(node)) {
      become(at, node);
      at = at.nextSibling;
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
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  settle(old, [...fresh.childNodes]);
}

// A live region is read aloud again whenever it is written.
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(1)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

export function clock(unix) {
  const at = new Date(unix * 1000);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}
