// A row of the list: a job as its question and answer, how it stands, how long it waited and ran.

import { make } from "./dom.js";
import { choosable, pages_done } from "./page_jobs.js";
import { state } from "./store.js";
import { thumbnail } from "./thumbnails.js";
import {
  ago,
  clock,
  now,
  number,
  place,
  plural,
  PRIORITIES,
  range,
  REASONS,
  seconds,
  short,
  STATUSES,
} from "./words.js";

// `sightline map` names itself and how many rows it has.
export const is_of_map = ({ metadata: { map }, priority }) => priority === "batch" && /^[0-9a-f]{16}\/\d+$/.test(map);

export function row(job, at) {
  // A map's number is its own business; what it asked about has a name.
  const { map, row: name, ...others } = job.metadata;
  const mapped = is_of_map(job);
  const metadata = Object.entries(mapped ? others : job.metadata).map((pair) => pair.join("="));
  const pages = job.pages && `Page by page: ${number(pages_done(job))} of ${plural(job.pages.total, "page")}`;
  const text = [mapped && name, job.question?.text].filter(Boolean).join(" · ") || metadata.join(", ") || job.id;
  const answer = job.error?.message ?? pages ?? job.answer;
  const chosen = state.jobs.chosen.has(job.id);
  return make(
    "article",
    {
      class: "job-row",
      "data-key": job.id,
      "data-do": "open",
      "data-job": job.id,
      "data-status": job.status,
      "data-chosen": chosen && "true",
      "aria-current": state.drawer.id === job.id && "true",
      "--at": at,
    },
    tick(job, text, chosen),
    thumbnail(job),
    make(
      "div",
      { class: "words" },
      make("a", { href: `#jobs/${job.id}`, dir: "auto" }, text),
      make("span", { dir: "auto", class: job.error && "error" }, answer || (job.question?.text && metadata.join(", "))),
    ),
    status(job),
    make("span", { class: "by" }, short(job.model), make("small", {}, PRIORITIES[job.priority])),
    job.pages ? progress(pages_done(job), job.pages.total) : spent(job),
    when(job),
  );
}

export const tick = (job, text, checked) =>
  make(
    "label",
    { class: "tick", "data-do": "pass" },
    choosable(job) &&
      make("input", {
        type: "checkbox",
        "data-do": "choose-job",
        "data-job": job.id,
        checked,
        "aria-label": `Choose: ${text}`,
      }),
  );

const status = (job) => {
  const [word, kind] = STATUSES[job.status] ?? [job.status, "idle"];
  return make("span", { class: `state ${kind}` }, make("span", {}, word, wait(job)));
};

// A bar of waited and ran, its length by the root of the time: a minute beside a second stays readable.
function spent(job) {
  const waited = Math.max(0, (job.started_at ?? job.ended_at ?? now()) - job.created_at);
  const ran = job.started_at ? Math.max(0, (job.ended_at ?? now()) - job.started_at) : 0;
  const words =
    job.cache === "HIT" && job.ended_at
      ? "from the cache"
      : ran
        ? `${seconds(waited)} + ${seconds(ran)}`
        : seconds(waited);
  return make(
    "span",
    { class: "spent", title: `Waited ${seconds(waited)}${ran ? `, ran ${seconds(ran)}` : ""}` },
    make(
      "span",
      {
        class: "bar",
        "--w": `${Math.min(100, (100 * Math.sqrt(waited + ran)) / Math.sqrt(60))}%`,
        "aria-hidden": "true",
      },
      make("i", { "--w": waited + 0.001 }),
      ran > 0 && make("i", { class: "ran", "--w": ran }),
    ),
    make("small", {}, words),
  );
}

// How much of many is done.
export function progress(done, total) {
  const share = Math.floor((100 * done) / (total || 1));
  return make(
    "span",
    { class: "spent", title: `${number(done)} of ${number(total)}` },
    make("span", { class: "full", "--w": `${share}%`, "aria-hidden": "true" }, make("i")),
    make("small", {}, `${share}%`),
  );
}

// When it ended; of what has not ended, when it was asked.
export function when(job) {
  const at = job.ended_at ?? job.created_at;
  return make(
    "span",
    { class: "when", title: `Asked ${clock(job.created_at)}` },
    ago(at),
    make("small", {}, clock(at)),
  );
}

// Why a job waits, and what is known of its beginning.
function wait(job) {
  if (job.status !== "queued") return false;
  if (job.estimate) return [place(job), range(job.estimate)].map((words) => make("small", {}, words));
  return reason(job) && make("small", {}, reason(job));
}

// Why it waits, where nobody knows for how long.
export function reason({ status, estimate, waiting_reason } = {}) {
  return status === "queued" && !estimate && REASONS[waiting_reason];
}
