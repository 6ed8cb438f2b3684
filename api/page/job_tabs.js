// What the tabs of an opened job show.

import { webhook } from "./deliveries.js";
import { button, icon, make } from "./dom.js";
import { all_pages } from "./page_jobs.js";
import { prose, question_text } from "./prose.js";
import { code_box, in_code, snippet } from "./snippets.js";
import { state } from "./store.js";
import { own_attempts, timeline } from "./timeline.js";
import { in_line } from "./waiting.js";
import { bytes, CACHE, clock, is_open, number, outcome_word, PRIORITIES, seconds } from "./words.js";

const ASKED = { class: "asked" };

function overview(job) {
  const { request, pictures, rows, from } = state.drawer;
  if (job.pages) return [question_text(job.question?.text ?? "", "p", ASKED), all_pages(job, rows, from), facts(job)];
  const shots = Object.entries(pictures).map(([n, src]) =>
    button(
      "enlarge",
      {
        class: "large",
        "data-key": n,
        "data-path": `v1/jobs/${job.id}/pictures/${n}`,
        "aria-label": `Enlarge picture ${Number(n) + 1}`,
      },
      make("img", { src, alt: `Picture ${Number(n) + 1}` }),
    ),
  );
  return [
    shots.length > 0 && make("div", { class: "shots" }, shots),
    media(request),
    job.error && addresses(request),
    earlier(request),
    question_text(question_of(request) ?? job.question?.text ?? "", "p", ASKED),
    answers(job),
    make(
      "section",
      {},
      make("h3", {}, job.ended_at ? `Took ${seconds(job.ended_at - job.created_at)} in all` : "Timeline"),
      timeline(job, state.drawer.history),
    ),
    own_attempts(job).length > 0 &&
      make(
        "section",
        {},
        make("h3", {}, "Attempts"),
        make("ul", { class: "rows-list" }, own_attempts(job).map(attempt)),
      ),
    facts(job),
  ];
}

const facts = (job) =>
  make(
    "section",
    {},
    make("h3", {}, "Details"),
    pairs(details(job)),
    job.receipt && make("details", {}, make("summary", {}, "Ids and hashes"), pairs(ids(job))),
  );

const pairs = (values) =>
  make(
    "dl",
    { class: "pairs" },
    Object.entries(values)
      .filter(([, value]) => value)
      .map(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)]),
  );

const MEDIA = { audio: "Sound", video: "Video" };

// What is asked about beside pictures, by name.
function media(request) {
  const parts = request?.messages.flatMap(({ content }) => (typeof content === "string" ? [] : content)) ?? [];
  const chips = Object.entries(MEDIA).flatMap(([type, name]) =>
    parts
      .filter((part) => part.type === type)
      .map(({ url }, at, all) =>
        make("span", { class: "chip", title: url }, icon(type), name, all.length > 1 && ` ${at + 1}`),
      ),
  );
  return chips.length > 0 && make("p", {}, chips);
}

// Where pictures that cannot be shown were to come from.
function addresses(request) {
  const { pictures } = state.drawer;
  const urls = request?.messages.flatMap(images_of).flatMap(({ n, url }) => (url && !pictures[n] ? url : []));
  return urls?.length > 0 && urls.map((url) => make("p", { class: "muted" }, make("code", { class: "address" }, url)));
}

const text_of = ({ content }) =>
  typeof content === "string"
    ? content
    : content
        .filter(({ type }) => type === "text")
        .map(({ text }) => text)
        .join("\n");
export const images_of = ({ content }) =>
  typeof content === "string" ? [] : content.filter(({ type }) => type === "image");
export const question_of = (request) => request && text_of(request.messages.at(-1));

function earlier(request) {
  const former = request?.messages.slice(0, -1) ?? [];
  return (
    former.length > 0 &&
    make(
      "details",
      {},
      make("summary", {}, `${number(former.length)} earlier messages`),
      former.map((message) => make("p", { dir: "auto" }, make("b", {}, `${message.role}: `), text_of(message))),
    )
  );
}

function answers(job) {
  if (job.status === "queued") return in_line(job);
  if (job.error)
    return [
      make("p", { class: "failure", dir: "auto", title: job.error.code }, job.error.message),
      state.drawer.streamed.text && make("div", { class: "answer" }, prose(state.drawer.streamed.text)),
    ];
  const choices = job.result?.choices ?? [];
  if (choices.length > 1)
    return choices.map(({ text }, at) =>
      make("section", { class: "answer" }, make("h3", {}, `Answer ${at + 1}`), prose(text)),
    );
  const text = job.result?.text ?? state.drawer.streamed.text;
  return text && make("div", { class: "answer" }, prose(text, is_open(job)));
}

function attempt({ number: count, worker, started_at, ended_at, outcome, error }) {
  const kind = { succeeded: "good", cancelled: "idle" }[outcome] ?? (outcome ? "bad" : "active");
  return make(
    "li",
    {},
    make("span", { class: `state ${kind}` }, outcome_word(outcome)),
    make("span", {}, `${count}. ${worker}`, error && make("small", {}, error.message ?? error)),
    make("span", {}, `${clock(started_at)}${ended_at ? ` · ${seconds(ended_at - started_at)}` : ""}`),
  );
}

function details(job) {
  const { request } = state.drawer;
  const parameters = Object.entries(job.receipt?.parameters ?? request?.parameters ?? {});
  const metadata = Object.entries(job.metadata).map((pair) => pair.join("="));
  return {
    Model: job.model,
    Priority: PRIORITIES[job.priority],
    Cache: job.result && CACHE[job.cache],
    Tokens: job.result && tokens(job.result.usage),
    Pictures: request?.pictures.map(pixels).join("; "),
    Parameters: parameters.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", "),
    Metadata: metadata.join(", "),
    Computed: job.receipt && computed(job.receipt),
    "Retry of": job.retry_of,
    Batch: job.batch,
    Created: clock(job.created_at),
    Ended: job.pages && job.ended_at && `${clock(job.ended_at)}, after ${seconds(job.ended_at - job.created_at)}`,
  };
}

const tokens = ({ prompt_tokens, image_tokens, cached_tokens, completion_tokens }) =>
  `${number(prompt_tokens)} asked (${number(image_tokens)} of them pictures, ${number(cached_tokens)} reused), ${number(completion_tokens)} answered`;

const pixels = ({ width, height, bytes: size }) =>
  [width && `${width} × ${height}`, size && bytes(size)].filter(Boolean).join(", ");

const computed = ({ model: { engine, dtype, device }, timings }) =>
  [engine, dtype, device, `${seconds(timings.compute_s)} of computing`].filter(Boolean).join(", ");

// What an operator asks for, who looks for it in logs.
const ids = ({ id, receipt: { run, request_hash }, result }) => ({
  "Computed for": run.id !== id && run.id,
  "Request hash": request_hash,
  Fingerprint: result?.fingerprint,
});

function program(job) {
  const { request } = state.drawer;
  if (request) return snippet(in_code(request, job, job.cache === "BYPASS"));
  const words = request === null ? "What was asked is not kept, so it cannot be shown as a program." : "Reading…";
  return make("p", { class: "muted" }, words);
}

function json(job) {
  const { request } = state.drawer;
  const box = (path, value) =>
    code_box(make("b", {}, `GET /v1/jobs/${job.id.slice(0, 12)}…${path}`), JSON.stringify(value, null, 2));
  return [box("", job), request && box("/request", request)];
}

export const PANELS = { overview, webhook, program, json };
