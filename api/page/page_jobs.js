// Documents of which each page is asked by itself: how they are submitted, listed and shown, with the pages as they end.

import { action } from "./actions.js";
import { button, icon, make } from "./dom.js";
import { uploaded } from "./media.js";
import { prose } from "./prose.js";
import { Resource } from "./resource.js";
import { changed, state } from "./store.js";
import { small_picture } from "./thumbnails.js";
import { about, is_open, now, number, plural, STATUSES } from "./words.js";
import { call } from "./wire.js";

const MOST = 100; // pages shown at once
export const LISTED = 100; // batches looked through for jobs of pages: the most that one call lists
const ENDPOINT = "/v1/jobs"; // a batch of this one is a job of pages

export async function page_job({ attachments, model, parameters, question, pages }) {
  const file = await uploaded(attachments[0]);
  return {
    model,
    ...(Object.keys(parameters).length && { parameters }),
    input: { prompt: question },
    document: { file, per: "page", ...(pages && { pages }) },
  };
}

// They are listed among the batches, and each is read by its id.
export const list = new Resource(
  "page_jobs",
  () => `v1/batches?limit=${LISTED}`,
  (data) => {
    state.jobs.older_batches = Boolean(data?.has_more);
    state.jobs.batches = data?.data ?? [];
    const reading_all = read_all(data?.data.filter(({ endpoint }) => endpoint === ENDPOINT) ?? []);
    reading_all.then((whole) => whole && ((state.jobs.pages_read = Boolean(data)), changed()));
  },
  { every_ms: 5000 },
);

let reading = new AbortController();

// With another key, what the old one is still told is not taken.
async function read_all(batches) {
  reading.abort();
  const { signal } = (reading = new AbortController());
  const known = new Map(state.jobs.page_jobs.map((job) => [job.id, job]));
  state.jobs.page_jobs = batches.flatMap(({ id }) => known.get(id) ?? []);
  try {
    for (const { id } of batches.filter((it) => !known.has(it.id) || is_open(known.get(it.id)))) {
      const { data } = await call(`v1/jobs/${id}`, { signal });
      keep_page_job(data);
    }
  } catch {
    // The next round tries again, whether the list has changed or not.
    if (!signal.aborted) list.last = "";
  }
  return !signal.aborted;
}

// What an opened one tells stands in its row, too.
export function keep_page_job(job) {
  state.jobs.page_jobs = [...state.jobs.page_jobs.filter(({ id }) => id !== job.id), job];
  changed();
}

// Cancelled as others are; what has ended cannot be asked again from the list.
export const choosable = (job) => !(job.pages || job.members) || is_open(job);

const grouped_rows = () => state.jobs.shown.filter(({ members }) => members);
export const some_open = () => [...state.jobs.page_jobs, ...grouped_rows()].some(is_open);

// The rows of the list. Jobs of pages stand before their pages: by when they ended, those that have not at the top.
export function shown_jobs() {
  const { rows, next, loaded, page_jobs } = state.jobs;
  if (!loaded) return rows;
  const at = ({ pages, created_at, ended_at }) => (pages ? (ended_at ?? Infinity) : created_at);
  const oldest = next ? (rows.at(-1)?.created_at ?? Infinity) : 0;
  const fitting = page_jobs.filter((job) => at(job) >= oldest && matches_filter(job));
  if (!fitting.length) return rows;
  // Of two that have not ended the difference is no number.
  return [...rows, ...fitting].sort((one, other) => at(other) - at(one) || other.created_at - one.created_at);
}

// Whether the filter takes it, as the service judges other jobs.
function matches_filter({ id, status, model, created_at, metadata, question }) {
  const filter = state.jobs.filter;
  const [name, value] = filter.search.split(/=(.*)/s, 2);
  const holds = (text) => text.toLowerCase().includes(filter.search.toLowerCase());
  return (
    (!filter.status.size || filter.status.has(status)) &&
    (!filter.model || filter.model === model) &&
    (!filter.since_s || created_at > now() - filter.since_s) &&
    (value === undefined ? holds(question?.text ?? "") || id.startsWith(filter.search) : metadata[name] === value)
  );
}

export const page_texts = ({ rows }) =>
  rows
    .map(({ page, text }) => text && `Page ${page}\n\n${text}`)
    .filter(Boolean)
    .join("\n\n");

// Rows come in order, and later pages may have ended. The pages of a cancelled job that nobody came to count as failed.
export const pages_done = ({ pages, status }, rows = []) =>
  Math.max(pages.succeeded + (status === "cancelled" ? 0 : pages.failed), rows.length);

// The pages that nobody came to before the job was stopped say nothing.
export const has_outcome = ({ error }) => error?.code !== "batch_cancelled";

// In a conversation the progress stands below the pages, where the last one is seen.
export const page_answers = ({ rows, job, status, error }) =>
  make(
    "div",
    { class: "pages" },
    rows.length > MOST && make("p", { class: "muted" }, `The last ${MOST} of them; Job has all.`),
    rows.slice(-MOST).map(page),
    error && make("p", { class: "failure", dir: "auto" }, error),
    progress({ ...job, status }, rows),
  );

// An opened job has its pages from the first one on.
export function all_pages(job, all, from) {
  const rows = all.filter(has_outcome);
  const more = (to, words) => to >= 0 && to < rows.length && button("pages-from", { "data-from": to }, words);
  return make(
    "div",
    { class: "pages" },
    job.error && make("p", { class: "failure", dir: "auto" }, job.error.message),
    (job.failures ?? []).map(({ count, code }) => make("p", { class: "muted" }, `${number(count)} ${code}`)),
    progress(job, rows),
    rows.slice(from, from + MOST).map(page),
    rows.length > MOST &&
      make("div", { class: "acts" }, more(from - MOST, `Former ${MOST}`), more(from + MOST, `Next ${MOST}`)),
  );
}

function progress(job, rows) {
  const { total } = job.pages;
  const done = pages_done(job, rows);
  const wrong = rows.filter((row) => row.error).length;
  const left = job.status === "running" && job.ends_in_s;
  return [
    make(
      "div",
      { class: "place" },
      make("b", {}, total ? `${number(done)} of ${plural(total, "page")}` : plural(done, "page")),
      wrong > 0 && make("span", { class: "state bad" }, `${number(wrong)} failed`),
      left && make("span", {}, `about ${about(left)} to go`),
    ),
    make(
      "div",
      {
        class: "full",
        "--w": `${(100 * done) / (total || 1)}%`,
        role: "progressbar",
        "aria-label": "Pages",
        "aria-valuemin": 0,
        "aria-valuemax": total,
        "aria-valuenow": done,
      },
      make("i"),
    ),
  ];
}

function page({ page: count, status, text, error, job }) {
  const [word, kind] = STATUSES[status];
  return make(
    "section",
    { class: "page", "data-key": `page-${count}` },
    make(
      "header",
      {},
      make("h3", {}, `Page ${number(count)}`),
      make("span", { class: `state ${kind}` }, word),
      job && make("a", { href: `#jobs/${job}`, "aria-label": `Job of page ${number(count)}` }, "Job"),
    ),
    job && picture_of(job, count),
    error ? make("p", { class: "failure", dir: "auto" }, error.message) : prose(text),
  );
}

// The page beside its answer.
function picture_of(job, count) {
  const src = small_picture(job);
  return button(
    "enlarge",
    {
      class: "thumb",
      "data-thumbnail": job,
      "data-path": `v1/jobs/${job}/pictures/0`,
      "aria-label": `Enlarge page ${count}`,
    },
    src ? make("img", { src, alt: "" }) : make("span", { class: "remote" }, icon("document")),
  );
}

export const save_buttons = () => [
  button("save-pages", { class: "quiet", "data-format": "text" }, icon("older"), "Save as text"),
  button("save-pages", { class: "quiet", "data-format": "jsonl" }, icon("older"), "Save as JSON lines"),
];

const FORMATS = {
  text: ["txt", page_texts],
  jsonl: ["jsonl", ({ rows }) => rows.map((row) => `${JSON.stringify(row)}\n`).join("")],
};

action("pages-from", ({ dataset }) => ((state.drawer.from = Number(dataset.from)), changed()));
action("save-pages", ({ dataset }) => {
  const [ending, write] = FORMATS[dataset.format];
  const href = URL.createObjectURL(new Blob([write(state.drawer)]));
  make("a", { href, download: `${state.drawer.id}.${ending}` }).click();
  URL.revokeObjectURL(href);
});
