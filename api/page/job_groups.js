// What came together is one row of the list, with its progress: the rows of a map, the lines of a batch, a document's pages.

import { action } from "./actions.js";
import { button, icon, make } from "./dom.js";
import { is_of_map, progress, reason, tick, when } from "./job_row.js";
import { changed, state } from "./store.js";
import { thumbnail } from "./thumbnails.js";
import { call } from "./wire.js";
import { is_open, number, plural, PRIORITIES, short, STATUSES } from "./words.js";

const OVER = ["completed", "failed", "expired", "cancelled"]; // how a batch ends
const COUNTED = 5; // maps whose jobs are counted at each look

function key_of(job) {
  if (job.pages) return null;
  return is_of_map(job) ? `map ${job.model} ${job.metadata.map}` : (job.batch ?? null);
}

// What is looked for is shown job by job.
export function grouped(rows) {
  if (state.jobs.filter.search || state.jobs.filter.status.size) return rows;
  const groups = new Map();
  for (const job of rows) {
    const key = key_of(job);
    if (groups.has(key)) groups.get(key).push(job);
    else groups.set(key, [job]);
  }
  const seen = new Set();
  return rows.flatMap((job) => {
    const key = key_of(job);
    const jobs = groups.get(key);
    // A job of pages has a row of its own.
    if (state.jobs.page_jobs.some(({ id }) => id === job.batch)) return [];
    if (!key || jobs.length === 1) return job;
    const member = state.jobs.opened.has(key) ? [job] : [];
    if (seen.has(key)) return member;
    seen.add(key);
    const batch = state.jobs.batches.find(({ id }) => id === job.batch);
    return [group(key, jobs, batch), ...member];
  });
}

function group(key, jobs, batch) {
  const [newest] = jobs;
  const open = jobs.filter(is_open);
  const count = counts_of(key, jobs, batch);
  const left = count.total - count.done - count.failed - count.cancelled;
  // What goes on may have questions that are no jobs yet.
  const goes_on = batch ? !OVER.includes(batch.status) : open.length > 0;
  const begun = count.done > 0 && !reason(open[0]);
  const runs = begun || open.some(({ status }) => status === "running");
  const whole = count.done || count.cancelled ? "succeeded" : "failed";
  // A map with nothing open and less than all its rows was stopped, or some rows made no job: nobody knows which.
  const ended = batch?.status === "cancelled" ? "cancelled" : !batch && left > 0 ? "over" : whole;
  return {
    ...newest,
    id: key,
    members: jobs,
    // A batch is cancelled as a whole, with the lines that are no jobs yet.
    open: batch ? [{ id: batch.id, status: "running", batch: true, left }] : open,
    count,
    left,
    status: goes_on ? (runs ? "running" : "queued") : ended,
    name: is_of_map(newest) ? "Map" : "Batch",
    ended_at: goes_on ? null : newest.ended_at,
  };
}

// Of a batch the service has counted all; of a map those that were submitted; else the list's.
function counts_of(key, jobs, batch) {
  if (batch) {
    const { total, completed: done, failed } = batch.request_counts;
    return { total, done, failed, cancelled: 0, more: false };
  }
  const { counts, complete = true } = state.jobs.group_counts.get(key) ?? {};
  const of = (status) => counts?.[status] ?? jobs.filter((job) => job.status === status).length;
  const [done, failed, cancelled] = ["succeeded", "failed", "cancelled"].map(of);
  // A map says of how many rows it is, and submits them as there is room.
  const rows = Number(jobs[0].metadata.map?.split("/")[1]) || 0;
  const total = Math.max(rows, done + failed + cancelled + of("queued") + of("running"));
  return { total, done, failed, cancelled, more: !complete };
}

export async function count_groups(anew, signal) {
  const known = state.jobs.group_counts;
  const maps = state.jobs.shown.filter(
    (job) => job.members && is_of_map(job) && (anew || !known.has(job.id)),
  );
  for (const { id, model, metadata } of maps.slice(0, COUNTED)) {
    const query = new URLSearchParams({ metadata: `map=${metadata.map}`, model });
    known.set(id, (await call(`v1/jobs/counts?${query}`, { signal })).data);
    changed();
  }
}

export function group_row(job, at) {
  const { id, name, count, left, members, question, status } = job;
  const opened = state.jobs.opened.has(id);
  const title = question?.text || name;
  const facts = [
    `${name} of ${plural(count.total, "question")}`,
    `${count.more ? "more than " : ""}${number(count.done)} done`,
    count.failed > 0 && `${number(count.failed)} failed`,
    count.cancelled > 0 && `${number(count.cancelled)} cancelled`,
    is_open(job) && left > 0 && !count.more && `${number(left)} to go`,
  ];
  const [word, kind] = STATUSES[status] ?? ["Stopped or done", "idle"];
  const why = status === "queued" && reason(members.find(is_open));
  const toggle = { "data-do": "toggle-group", "data-group": id };
  return make(
    "article",
    { class: "job-row", "data-key": id, "data-status": status, "data-opened": opened && "true", "--at": at, ...toggle },
    tick(job, title, state.jobs.chosen.has(id)),
    thumbnail(members[0]),
    make(
      "div",
      { class: "words" },
      button(
        "toggle-group",
        { class: "link", "aria-expanded": String(opened), dir: "auto", ...toggle },
        icon(opened ? "newer" : "older"),
        title,
      ),
      make("span", {}, facts.filter(Boolean).join(", ")),
    ),
    make("span", { class: `state ${kind}` }, make("span", {}, word, why && make("small", {}, why))),
    make("span", { class: "by" }, short(job.model), make("small", {}, PRIORITIES[job.priority])),
    // The service counts the newest thousand of a map.
    count.more && left
      ? make("span", { class: "spent" })
      : progress(status === "cancelled" ? count.done : count.total - left, count.total),
    when(job),
  );
}

action("toggle-group", ({ dataset: { group: id } }) => {
  const { opened } = state.jobs;
  opened.has(id) ? opened.delete(id) : opened.add(id);
  changed();
});
