// What buttons and keys do. A module that shows a button with data-do registers the action of that name here; the
// elements themselves have no listeners, so that they can be painted anew.

import { $, make, toast } from "./dom.js";
import { state } from "./store.js";

const actions = new Map();
const shortcuts = [];

export const action = (name, run) => actions.set(name, run);

// `run` gets each key press and says whether it was its own; the first that says so ends the round.
export const shortcut = (run) => shortcuts.push(run);

const under_way = new Set();

// What is still under way is not begun again: a double click asks the service once.
export async function once(name, run) {
  if (under_way.has(name)) return;
  under_way.add(name);
  try {
    await run();
  } finally {
    under_way.delete(name);
  }
}

document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-do]");
  if (element) once(JSON.stringify(element.dataset), () => actions.get(element.dataset.do)?.(element, event));
});

document.addEventListener("keydown", (event) => {
  // A key that ends a composition is not meant as a command, nor is one for an open dialog.
  if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (shortcuts.some((run) => run(event))) event.preventDefault();
});

// Whether a key press is text for a field, or a browser's own command.
export const is_typed = ({ target, ctrlKey, metaKey, altKey }) =>
  ctrlKey || metaKey || altKey || /INPUT|TEXTAREA|SELECT/.test(target.tagName);

// The arrows move between tabs, as a reader of the screen expects.
shortcut(({ target, key }) => {
  if (target.role !== "tab" || !/^Arrow(Left|Right)$/.test(key)) return false;
  const tabs = [...target.parentNode.querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(target) + (key === "ArrowRight" ? 1 : tabs.length - 1)) % tabs.length];
  next.click();
  next.focus();
  return true;
});

shortcut((event) => {
  if (event.key !== "/" || is_typed(event) || state.view !== "jobs") return false;
  $("search").focus();
  return true;
});

action("copy", async ({ dataset }) => {
  try {
    await navigator.clipboard.writeText(dataset.text);
  } catch {
    copy_selected(dataset.text);
  }
  toast("Copied");
});

// Browsers give the clipboard to https and this machine only.
function copy_selected(text) {
  const field = make("textarea", { class: "sr" }, text);
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
