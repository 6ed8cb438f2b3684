// The list of recent jobs.

import { $, clock, make, seconds, settle } from "./dom.js";
import { open } from "./job.js";

const PAGE = 12;
let shown = PAGE;

export function setUp(changed) {
  for (const id of ["by-status", "by-model"]) $(id).addEventListener("change", () => ((shown = PAGE), changed()));
  $("more").addEventListener("click", () => ((shown += PAGE), changed()));
  $("jobs").addEventListener("click", ({ target }) => target.dataset.job && open(target.dataset.job));
}

export function path() {
  const asked = new URLSearchParams({ limit: Math.min(100, shown), results: false });
  for (const [name, id] of [["status", "by-status"], ["model", "by-model"]]) {
    if ($(id).value) asked.set(name, $(id).value);
  }
  return `v1/jobs?${asked}`;
}

export function paint(data) {
  settle($("jobs"), (data?.data ?? []).map(row));
  $("more").hidden = !data?.has_more || shown >= 100;
}

function row(job) {
  const cells = [
    make("button", { type: "button", "data-job": job.id }, `${job.id.slice(0, 14)}…`),
    make("span", { class: `badge ${job.status}` }, job.status),
    job.model,
    job.priority,
    job.cache ?? "",
    clock(job.created_at),
    seconds(job.started_at && job.started_at - job.created_at),
    seconds(job.ended_at && job.started_at && job.ended_at - job.started_at),
  ];
  return make("tr", { "data-key": job.id }, ...cells.map((cell) => make("td", { dir: "auto" }, cell)));
}
