// Operations: totals, a chart, a card for each model and the service's parts.

import { action } from "./actions.js";
import { chart } from "./charts.js";
import { $, button, icon, make, say, settle, toast } from "./dom.js";
import { fleet, standing, sum_rows, waiting } from "./fleet.js";
import { queue, rows } from "./line.js";
import { Resource } from "./resource.js";
import { code_box } from "./snippets.js";
import { changed, paints, state } from "./store.js";
import { ago, bytes, clock, number, plain, plural, PRIORITIES, REFUSALS, residency, seconds, short } from "./words.js";
import { call } from "./wire.js";

const MINUTES = 15;
const SERIES_MS = 10_000;
const series = new Resource(
  "series",
  () => `v1/admin/series?minutes=${MINUTES}`,
  (data) => (state.series = data),
  { every_ms: SERIES_MS },
);
const health = new Resource(
  "health",
  () => "health",
  (data) => (state.health = data),
  { every_ms: 5000 },
);
const memory = new Resource(
  "memory",
  () => "v1/admin/store",
  (data) => (state.memory = data?.memory ?? null),
  { every_ms: 10_000 },
);
export const resources = [series, health, memory];

export const set_up = () => paints(paint, "operations");

function paint() {
  const error = state.errors.fleet;
  say(
    $("operations-note"),
    error?.status && error.status !== 401 ? error.message : state.series && state.live ? "Live" : "",
  );
  settle($("operation-cards"), state.fleet ? everything() : []);
}

function everything() {
  if (!state.fleet.length)
    return teach(
      "No model is served",
      "Name one in models.toml, or start one by its id or folder:",
      "sightline run llava-hf/llava-interleave-qwen-0.5b-hf",
    );
  const idle = state.fleet.every((row) => !row.workers.length && row.state !== "cold" && !waiting(row));
  return [
    make("dl", { class: "totals" }, totals().map(total)),
    idle &&
      teach(
        "No worker is running",
        "A worker loads one model and answers its jobs. Start one on a machine with a GPU or a CPU, and its rows, speed and line appear here:",
        `SIGHTLINE_WORKER__MODEL=${state.fleet[0].model} sightline worker`,
      ),
    state.series && chart(state.series),
    state.fleet.map(card),
    make("div", { class: "more" }, around(), refusals()),
  ];
}

function teach(title, text, command) {
  return make(
    "div",
    { class: "teach", "data-key": title },
    make("h2", {}, title),
    make("p", {}, text),
    code_box(make("b", {}, "Terminal"), command),
  );
}

const sum = (of) => state.fleet.reduce((all, row) => all + of(row), 0);

// A model's values of the last minutes, by what they count.
const history = (model, name) => state.series?.models[model]?.[name];
const added = (name) =>
  state.fleet.flatMap(({ model }) => history(model, name) ?? []).reduce((all, value) => all + (value ?? 0), 0);

function totals() {
  const figures = [
    ["Waiting", number(sum(waiting))],
    [
      "Answering",
      // A worker claims the next ones before a row is free.
      number(sum(({ workers }) => workers.reduce((all, { busy, rows: most }) => all + Math.min(busy, most), 0))),
      `of ${number(sum((row) => sum_rows(row, "rows")))} at once`,
    ],
    ["Tokens per second", number(sum((row) => sum_rows(row, "tokens_per_s")))],
    ["Workers", number(sum(({ workers }) => workers.length))],
  ];
  if (!state.series) return figures;
  return [
    ...figures,
    [
      `Answered in ${MINUTES} min`,
      number(added("succeeded")),
      added("failed") ? `${number(added("failed"))} failed` : "",
      "By a model: those from the cache do not count",
    ],
  ];
}

const total = ([name, value, more, title]) =>
  make("div", { title }, make("dt", {}, name), make("dd", {}, value, more && make("small", {}, more)));

function card(row) {
  const [, kind] = standing(row);
  const broken = row.state === "no_worker" && kind === "bad";
  return make(
    "article",
    { class: `card model${kind === "bad" ? " bad" : ""}`, "data-key": row.model, "data-model": row.model },
    header(row),
    line(row, broken),
  );
}

function header(row) {
  const [word, kind] = standing(row);
  const owner = row.model.slice(0, -short(row.model).length);
  return make(
    "header",
    {},
    make("h2", {}, make("span", { class: "owner" }, owner), short(row.model)),
    make("span", { class: `state ${kind}` }, word),
    make("span", { class: "muted" }, whereabouts(row)),
    make("span", { class: "acts" }, controls(row)),
  );
}

function line(row, broken) {
  const sum = make(
    "p",
    { class: "sum" },
    make("b", {}, `${number(waiting(row))} waiting`),
    row.oldest_queued_s > 0 && make("span", {}, `oldest ${seconds(row.oldest_queued_s)}`),
    waited(row),
    row.state !== "no_worker" && make("span", { class: "end" }, `${number(row.running)} running`),
  );
  const classes = Object.entries(PRIORITIES).map(([id, name]) =>
    make("span", { class: id }, `${number(row.queued[id])} ${name.toLowerCase()}`),
  );
  return make(
    "div",
    { class: "flow" },
    sum,
    queue(row, broken ? "broken" : row.paused ? "shut" : "", crew(row, broken)),
    make("p", { class: "classes" }, classes),
    make("p", { class: "fine" }, remarks(row)),
  );
}

// How long jobs waited that started last; grey while nothing waits.
function waited(row) {
  const wait_s = history(row.model, "wait_p95_s")?.findLast((value) => value !== null) ?? null;
  const title = "Of 20 jobs that started last 19 waited no longer, pauses left out";
  return (
    wait_s !== null &&
    make("span", { class: `waited${waiting(row) ? " now" : ""}`, title }, `waiting time (p95) ${seconds(wait_s)}`)
  );
}

// Without keys, all callers are one.
const who = (name) => (name === "local" ? "the command line or page on this machine" : name);

// What operators said of it, and else whether it is loaded.
function whereabouts(row) {
  if (!row.paused && !row.draining) return residency(row.residency);
  const [at, by] = row.draining ? [row.draining_at, row.draining_by] : [row.paused_at, row.paused_by];
  const effect = row.draining ? MEANING.drain : "Jobs are taken and wait";
  return at ? `${effect}. By ${who(by)}, ${clock(at)}, ${ago(at)}` : effect;
}

const MEANING = {
  pause: "Jobs are taken and wait; what runs finishes",
  drain: "New jobs are refused; those in line go on",
  unload: "Its memory is freed once what runs has finished; the next question loads it again",
};
const control = (row, name, word) =>
  button(name, { class: "ghost small", "data-model": row.model, title: MEANING[name] }, icon(name), word);

function controls(row) {
  const halted = row.paused || row.draining;
  return [
    halted ? control(row, "resume", "Resume") : control(row, "pause", "Pause"),
    !row.draining && control(row, "drain", "Drain"),
    ["ready", "loading"].includes(row.state) && control(row, "unload", "Unload"),
  ];
}

function crew(row, broken) {
  const { last_worker: last } = row;
  const gone = make(
    "li",
    { class: `gone${broken ? "" : " idle"}` },
    row.state === "cold" ? "Not loaded" : last ? `${last.host} lost ${ago(last.seen_at)}` : "No worker",
  );
  return make("ul", { class: "crew" }, row.workers.length ? row.workers.map(member) : gone);
}

const member = (worker) =>
  make(
    "li",
    {
      "data-key": worker.id,
      title: `${worker.id}, process ${worker.pid}, ${bytes(worker.memory)}, since ${clock(worker.since)}`,
    },
    make("b", { dir: "auto" }, worker.host),
    rows(worker),
    make("span", {}, worker.state === "loading" ? "loading" : `${number(worker.tokens_per_s)} tokens/s`),
  );

function remarks(row) {
  const differing = new Set(row.workers.map(({ fingerprint }) => fingerprint).filter(Boolean)).size > 1;
  return [
    row.engine && `${row.engine} engine`,
    row.given_back > 0 && `${plural(row.given_back, "run")} given back in ${MINUTES} min`,
    differing && "workers differ: they share no cached answers",
    row.reason,
  ]
    .filter(Boolean)
    .join(" · ");
}

function around() {
  const facts = [record_store(), pictures(), ...couriers()].filter(([, words]) => words);
  const list = facts.map(([name, words, kind]) => [
    make("dt", {}, name),
    make("dd", {}, make("span", { class: `state ${kind}` }, words)),
  ]);
  return make(
    "section",
    { class: "card" },
    make("h2", {}, "Parts of the service"),
    make("dl", { class: "pairs" }, list),
  );
}

function record_store() {
  const { store } = state.health ?? {};
  const { used, limit } = state.memory ?? {};
  const filled = limit ? `, ${number((100 * used) / limit)}% full` : "";
  return ["Jobs", store && plain(store) + filled, store === "reachable" ? "good" : "bad"];
}

function pictures() {
  const { kind, state: reach } = state.health?.blobs ?? {};
  return ["Pictures", reach && `${plain(reach)} (${kind})`, reach === "reachable" ? "good" : "bad"];
}

// Who fetches what is asked about by address, calls webhooks and mends; and what waits for them.
function couriers() {
  if (!state.couriers) return [];
  const { workers, last_worker: last, queued, oldest_queued_s: oldest_s, webhook_calls: calls } = state.couriers;
  const alive = workers.length > 0;
  const lost = last ? `None; ${last.host} was seen ${ago(last.seen_at)}` : "None";
  const counts = [
    calls.under_way > 0 && `${number(calls.under_way)} being made`,
    calls.due > 0 && `${number(calls.due)} waiting`,
    calls.later > 0 && `${number(calls.later)} failed, made again later`,
  ].filter(Boolean);
  const oldest = queued > 0 && oldest_s > 0 ? `, the oldest for ${seconds(oldest_s)}` : "";
  const held = (count) => (count && !alive ? "bad" : count ? "active" : "idle");
  return [
    ["Couriers", alive ? `${number(workers.length)} at work` : lost, alive ? "good" : "bad"],
    ["Webhook calls", counts.join(", ") || "None waiting", held(calls.due)],
    ["Files to fetch", queued ? `${plural(queued, "job")} waiting${oldest}` : "None waiting", held(queued)],
  ];
}

// Requests of the last minutes that the service could not take, by the reason; the most frequent first.
function refusals() {
  const { refusals: by_code, from, step_s } = state.series ?? {};
  if (!by_code) return false;
  const reasons = Object.entries(by_code)
    .map(([code, steps]) => ({
      code,
      count: steps.reduce((all, one) => all + (one ?? 0), 0),
      last_at: from + step_s * steps.findLastIndex((one) => one > 0),
    }))
    .sort((one, other) => other.count - one.count);
  const row = ({ code, count, last_at }) =>
    make(
      "li",
      { title: code },
      make("b", {}, number(count)),
      make("span", {}, REFUSALS[code] ?? plain(code), make("small", {}, `last ${ago(last_at)}`)),
    );
  return make(
    "section",
    { class: "card" },
    make("h2", {}, `Refused in ${MINUTES} min`),
    reasons.length
      ? make("ul", { class: "log-list counts" }, reasons.map(row))
      : make("p", { class: "muted" }, "No request: the service took all that it could."),
  );
}

const DONE = {
  pause: "is paused; what runs finishes",
  resume: "goes on",
  drain: "takes no new jobs",
  unload: "is unloaded once what runs has finished",
};

for (const [name, words] of Object.entries(DONE)) {
  action(name, async ({ dataset: { model } }) => {
    try {
      await call(`v1/${name === "unload" ? "" : "admin/"}models/${model}/${name}`, { method: "POST" });
      toast(`${short(model)} ${words}`);
    } catch (error) {
      toast(`Refused: ${error.message}`);
    }
    await fleet.refresh();
    changed();
  });
}
