// What surrounds the views: navigation, the line of each model, the form for a key, and which view is shown.

import { action, shortcut } from "./actions.js";
import { $, button, icon, make, say, settle, toast } from "./dom.js";
import { banner } from "./banner.js";
import { changed, paints, state } from "./store.js";
import { number, residency, short } from "./words.js";
import { no_courier, standing, sum_rows, waiting, wrong } from "./fleet.js";
import { keep_key } from "./wire.js";

const VIEWS = { ask: "Ask", jobs: "Jobs", operations: "Operations", keys: "Keys" };
const DOCUMENTATION = "https://github.com/sightline-vlm/sightline/blob/HEAD/docs/README.md";

export function set_up(key_changed) {
  window.addEventListener("hashchange", route);
  $("key-field").value = state.key;
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep_key($("key-field").value);
    if (location.hash === "#key") location.hash = "ask";
    key_changed();
  });
  paints(paint);
  route();
}

function route(event) {
  // The content of the view is skipped to: a reload shows the same view.
  if (location.hash === "#main" && event) return history.replaceState(null, "", event.oldURL);
  const [view, job] = location.hash.slice(1).split("/");
  state.view = view in VIEWS || view === "key" ? view : "ask";
  if (state.view === "jobs") state.drawer.target = /^(job|batch)_\w+$/.test(job) ? job : null;
  document.title = state.view === "ask" ? "Sightline" : `${VIEWS[state.view] ?? "API key"} · Sightline`;
  changed();
  window.dispatchEvent(new Event("view"));
}

function paint() {
  const view = state.locked ? "key" : state.view;
  const first_time = state.locked && $("view-key").hidden;
  for (const id of [...Object.keys(VIEWS), "key"]) $(`view-${id}`).hidden = id !== view;
  $("app").classList.toggle("closed", Boolean(state.locked));
  settle(
    $("nav"),
    Object.entries(VIEWS)
      .filter(([id]) => allowed(id))
      .map(link),
  );
  $("pulse-unit").hidden = !state.fleet;
  settle($("pulse"), Object.entries(state.standings).map(model));
  settle(
    $("foot-links"),
    make("a", { href: DOCUMENTATION, target: "_blank", rel: "noopener" }, "Docs"),
    make("a", { href: "docs" }, "API"),
    make("a", { href: "#key", "aria-current": view === "key" && "page" }, state.key ? "Change key" : "Use a key"),
    button(
      "theme",
      { class: "ghost square small", title: `Colours: ${theme()}`, "aria-label": `Colours: ${theme()}. Change` },
      icon("theme"),
    ),
  );
  settle($("banner"), state.locked ? [] : banner());
  paint_key();
  if (first_time) $("key-field").focus();
}

// A key that may not administer sees no empty pages about what it may not.
const allowed = (id) => !(id === "operations" || id === "keys") || state.errors.fleet?.code !== "insufficient_scope";

// How many wait or are being answered. The service counts the newest jobs only.
function open_jobs() {
  const { counts: { queued = 0, running = 0 } = {}, complete } = state.open_jobs ?? {};
  const open = queued + running;
  return (
    open > 0 &&
    make("span", { class: "count" }, number(open) + (complete ? "" : "+"), make("span", { class: "sr" }, " not ended"))
  );
}

const fault = () =>
  (wrong().length > 0 || no_courier()) && make("b", { class: "count bad", title: "Something is wrong" }, "!");

const MARKS = { jobs: open_jobs, operations: fault };

function link([id, name]) {
  return make(
    "a",
    { href: `#${id}`, "data-do": `view-${id}`, "data-key": id, "aria-current": state.view === id && "page" },
    icon(id),
    make("span", {}, name),
    MARKS[id]?.(),
  );
}

function model([id, name]) {
  const row = state.fleet?.find((it) => it.model === id);
  const [word, kind] = standing(row ?? { state: name });
  const share =
    row && sum_rows(row, "rows")
      ? (100 * Math.min(sum_rows(row, "busy"), sum_rows(row, "rows"))) / sum_rows(row, "rows")
      : 0;
  return make(
    "li",
    { "data-key": id },
    make(
      "a",
      {
        href: row ? "#operations" : "#ask",
        title: [`${id}: ${word}`, row && residency(row.residency)].filter(Boolean).join(". "),
      },
      make("i", { class: `dot ${kind}`, role: "img", "aria-label": word }),
      make("span", { class: "name" }, short(id)),
      row
        ? make("span", { class: "count", title: "waiting" }, number(waiting(row)))
        : make("span", { class: "count" }, word),
      row && make("span", { class: "full", "--w": `${share}%` }, make("i")),
    ),
  );
}

function paint_key() {
  const required = Boolean(state.locked);
  say($("key-title"), required ? "This service asks for a key" : "API key");
  say(
    $("key-help"),
    required
      ? "Whoever runs it can make one for you:"
      : "This service answers without one from here. A key of your own shows its jobs only:",
  );
  say($("key-note"), required && state.key ? state.locked : "");
  $("key-form").classList.toggle("wrong", required && Boolean(state.key));
  $("key-field").setAttribute("aria-invalid", String(required && Boolean(state.key)));
}

const theme = () => document.documentElement.dataset.theme;

action("theme", () => {
  const next = { system: "dark", dark: "light", light: "system" }[theme()];
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("sightline-theme", next);
  } catch {
    // Storage is blocked: it lasts as long as the page.
  }
  toast(`Colours: ${next}`);
  changed();
});

action("show-key", (element) => {
  const shown = $("key-field").type === "password";
  $("key-field").type = shown ? "text" : "password";
  say(element, shown ? "Hide" : "Show");
  element.setAttribute("aria-pressed", String(shown));
});

shortcut(({ key }) => {
  if (key !== "Escape" || state.view !== "key" || state.locked) return false;
  location.hash = "ask";
  return true;
});
