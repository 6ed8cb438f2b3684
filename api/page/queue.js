// What waits and which workers there are, model by model.

import { $, make, seconds, settle } from "./dom.js";

const CLASSES = ["interactive", "normal", "batch"];

export const path = () => "v1/admin/fleet";

export function paint(data) {
  settle($("queue"), (data?.models ?? []).map(model));
}

// All models' queues and workers in one line.
export function sum({ models }) {
  const waiting = models.reduce((sum, it) => sum + Object.values(it.queued).reduce((a, b) => a + b), 0);
  const running = models.reduce((sum, it) => sum + it.running, 0);
  const workers = models.reduce((sum, it) => sum + it.workers.length, 0);
  return `${waiting} waiting, ${running} running, ${workers} ${workers === 1 ? "worker" : "workers"}`;
}

function model(it) {
  const state = standing(it);
  const most = Math.max(10, ...CLASSES.map((name) => it.queued[name]));
  return make(
    "div",
    { class: "model", "data-key": it.model },
    make("h3", {}, it.model, " ", make("span", { class: `badge ${state}` }, state.replace("_", " "))),
    ...CLASSES.map((name) => bar(name, it.queued[name], most)),
    bar("running", it.running, Math.max(1, it.workers.reduce((sum, w) => sum + w.rows, 0))),
    make("p", { class: "faint" }, line(it)),
    it.workers.length ? workers(it.workers) : null,
  );
}

// Paused or draining, if an operator said so; else the workers' state.
function standing(it) {
  if (it.paused) return "paused";
  if (it.draining) return it.drained ? "drained" : "draining";
  return it.state;
}

function bar(name, value, most) {
  return make("div", { class: "bar" }, make("span", {}, name), make("meter", { min: 0, max: most, value, "aria-label": name }), make("b", {}, String(value)));
}

function line(it) {
  return [
    it.oldest_queued_s === null ? "none queued" : `oldest queued for ${seconds(it.oldest_queued_s)}`,
    it.engine && `${it.engine} engine`,
    it.reused && `${it.reused.cached_tokens} prompt tokens reused`,
    it.reason,
  ].filter(Boolean).join(" · ");
}

function workers(all) {
  const head = ["worker", "state", "rows", "tokens/s", "memory", "host"];
  const rows = all.map((w) => [
    w.id.slice(0, 13), w.state, `${w.busy}/${w.rows}`, w.tokens_per_s.toFixed(1), `${Math.round(w.memory / 2 ** 20)} MB`, w.host,
  ]);
  return make(
    "div",
    { class: "scroll" },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", {}, name)))),
      make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", { dir: "auto" }, cell))))),
    ),
  );
}
