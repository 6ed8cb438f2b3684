// How long a job waits, as it is told while it does.

import { make } from "./dom.js";
import { waiting } from "./fleet.js";
import { own_place, rows } from "./line.js";
import { state } from "./store.js";
import { about, now, place, PRIORITIES, REASONS, seconds, short } from "./words.js";

// The place in line and an honest range: half of the time, and nine times in ten.
export function in_line(job) {
  if (!job.estimate) {
    const why = REASONS[job.waiting_reason] ?? "Waiting";
    return make(
      "div",
      { class: "waiting" },
      make("p", { class: "place" }, make("b", {}, why)),
      make(
        "p",
        { class: "muted" },
        "It is kept, and begins as soon as it can. You may leave: you find it under Jobs.",
      ),
    );
  }
  const row = state.fleet?.find(({ model }) => model === job.model);
  const past = Math.max(0, now() - job.created_at);
  const { p50, p90, service_s } = job.estimate;
  const crew =
    row &&
    make(
      "ul",
      { class: "crew bare" },
      row.workers.map((worker) => make("li", {}, rows(worker))),
    );
  return make(
    "div",
    { class: "waiting" },
    make(
      "p",
      { class: "place" },
      make("b", {}, place(job)),
      make("span", {}, `${short(job.model)} · ${PRIORITIES[job.priority]}`),
    ),
    own_place(job.ahead, row ? waiting(row) : 0, crew),
    make(
      "div",
      {
        class: "scale",
        "--p50": `${(100 * (past + p50)) / (past + p90 || 1)}%`,
        "--at": `${(100 * past) / (past + p90 || 1)}%`,
        role: "img",
        "aria-label": `Waited ${seconds(past)} so far`,
      },
      make("i"),
      make("b"),
    ),
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
