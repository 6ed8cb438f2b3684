// How long a job waits, as it is told while it does.

import { make } from "./dom.js";
import { waiting } from "./fleet.js";
import { own_place, rows } from "./line.js";
import { state } from "./store.js";
import { about, now, place, PRIORITIES, REASONS, seconds, short } from "./words.js";

// The place in line and an honest range: half of the time, and nine times in ten.
export function in_line(job) {
  if (!job.estimate) return held(job);
  const past = Math.max(0, now() - job.created_at);
  const { p50, p90, service_s } = job.estimate;
  return make(
    "div",
    { class: "waiting" },
    make(
      "p",
      { class: "place" },
      make("b", {}, place(job)),
      make("span", {}, `${short(job.model)} · ${PRIORITIES[job.priority]}`),
    ),
    line(job),
    scale(past, job.estimate),
    make(
      "p",
      {},
      make("b", {}, p90 < 1 ? "Starts at once" : `Starts in about ${about(p50)}`),
      p90 >= 1 && `, nine times in ten within ${about(Math.ceil(p90))}.`,
    ),
    make(
      "p",
      { class: "fine" },
      `Waited ${about(past)} so far; the answer then takes about ${about(service_s)}. You may leave: it is kept under Jobs.`,
    ),
  );
}

// Nobody knows for how long.
const held = ({ waiting_reason: reason }) =>
  make(
    "div",
    { class: "waiting" },
    make("p", { class: "place" }, make("b", {}, REASONS[reason] ?? "Waiting")),
    make("p", { class: "muted" }, "It is kept, and begins as soon as it can. You may leave: you find it under Jobs."),
  );

// With the workers before it, for those who may see them.
function line({ model, ahead }) {
  const row = state.fleet?.find((it) => it.model === model);
  if (!row) return own_place(ahead, 0);
  const workers = row.workers.map((worker) => make("li", {}, rows(worker)));
  return own_place(ahead, waiting(row), make("ul", { class: "crew bare" }, workers));
}

// Seconds passed, and those until half of such jobs have begun, and nine in ten.
function scale(past, { p50, p90 }) {
  const share = (seconds_in) => `${(100 * seconds_in) / (past + p90 || 1)}%`;
  const label = `Waited ${seconds(past)} so far`;
  return make(
    "div",
    { class: "scale", "--p50": share(past + p50), "--at": share(past), role: "img", "aria-label": label },
    make("i"),
    make("b"),
  );
}
