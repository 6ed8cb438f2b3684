// How a conversation's pictures, questions and answers are drawn.

import { $, button, by_finger, icon, make } from "./dom.js";
import { can_be_paged, model_of } from "./media.js";
import { page_answers, page_texts } from "./page_jobs.js";
import { facts_of, image, is_seen, SAMPLES } from "./pictures.js";
import { inline, prose, question_text } from "./prose.js";
import { snippet } from "./snippets.js";
import { state } from "./store.js";
import { shown_in } from "./talks.js";
import { in_line } from "./waiting.js";
import { CACHE, now, number, plural, seconds, short, STATUSES } from "./words.js";

export const ENDED = ["succeeded", "failed", "cancelled"];

export const text_of = (turn) => turn.text || page_texts(turn);

export function hero() {
  const samples = SAMPLES.map(([file, name, question], at) =>
    button(
      "sample",
      { class: "sample", "data-sample": at, "data-key": file },
      make("img", { src: `page/${file}`, alt: "" }),
      make("span", {}, name, make("small", {}, question)),
    ),
  );
  return make(
    "div",
    { class: "hero", "data-key": "hero" },
    make("h2", {}, "Ask about a picture"),
    make(
      "p",
      {},
      `${by_finger() ? "Take or choose one below" : "Drop or paste one"}, or try one of these. You see your place in line, and the answer as it is written.`,
    ),
    about($("model").value),
    make("div", { class: "samples", id: "samples" }, samples),
  );
}

// What a model is for, so that nobody takes a toy's answer for more.
function about(id) {
  const { description } = model_of(id) ?? {};
  return (
    description && make("p", { class: "about" }, "The model is ", make("b", {}, short(id)), ". ", inline(description))
  );
}

// What can be seen; a click shows it larger still.
export function stage(pictures, { chosen }) {
  const seen = pictures.filter(is_seen);
  const big = seen.length === 2 ? seen : [is_seen(pictures[chosen] ?? {}) ? pictures[chosen] : seen[0]];
  return [
    make(
      "div",
      { class: "big" },
      big.map((picture) =>
        button(
          "enlarge",
          { class: "large", "data-path": picture.path, "aria-label": `Enlarge ${picture.name}` },
          image(picture),
        ),
      ),
    ),
    make(
      "figcaption",
      {},
      pictures.length > 2 && thumbs(pictures, 0),
      big.map((picture) => make("span", {}, facts_of(picture))),
    ),
  ];
}

const thumbs = (pictures, from) =>
  make(
    "div",
    { class: "thumbs" },
    pictures.map((picture, at) =>
      button(
        "stage",
        {
          class: "thumb",
          "data-picture": from + at,
          "data-path": picture.path,
          "aria-pressed": String(from + at === state.ask.talk.chosen),
          "aria-label": `Show ${picture.name}`,
        },
        image(picture),
      ),
    ),
  );

export function article(turn, talk) {
  const { attachments, question, per_page } = turn.request;
  return make(
    "article",
    { class: `turn${turn === talk.turns.at(-1) ? "" : " old"}`, "data-key": turn.key, "data-status": turn.status },
    make(
      "div",
      { class: "question" },
      attachments.length > 0 &&
        thumbs(attachments, shown_in({ turns: talk.turns.slice(0, talk.turns.indexOf(turn)) }).length),
      make("div", {}, question_text(question, "h2")),
    ),
    per_page && turn.job?.pages && turn.status !== "queued" ? page_answers(turn) : answer(turn),
    make("div", { class: "facts" }, facts(turn), turn.note && make("span", { class: "note" }, turn.note)),
    ENDED.includes(turn.status) && acts(turn),
    turn.code && snippet(turn.code),
    turn === talk.turns.at(-1) && ENDED.includes(turn.status) && about(turn.request.model),
  );
}

function answer({ text, status, error, error_code: code, job }) {
  if (status === "queued" && !text) return in_line(job);
  if (status === "failed")
    return [text && prose(text), make("p", { class: "failure answer", dir: "auto", title: code }, error)];
  if (text) return make("div", { class: "answer" }, prose(text, status === "running"));
  const words = {
    sending: "Sending",
    kept: "Reading it again",
    running: "Looking at it",
    cancelled: job?.started_at ? "Stopped before its first word." : "Stopped before it began.",
  }[status];
  return make(
    "p",
    { class: "muted answer" },
    words,
    status !== "cancelled" && make("span", { class: "cursor", "aria-hidden": "true" }),
  );
}

function facts(turn) {
  const { job, status } = turn;
  const usage = job?.result?.usage;
  const began = job?.started_at ?? turn.began;
  const tokens = usage?.completion_tokens ?? turn.tokens;
  const span_s = (job?.ended_at ?? now()) - turn.first;
  const pace = tokens > 3 && job?.cache !== "HIT" && span_s > 0.2 && tokens / span_s;
  const refusal = turn.away ? "No answer came" : "Refused, it became no job";
  const [word, kind] = status === "failed" && !job ? [refusal, "bad"] : (STATUSES[status] ?? ["Sending", "idle"]);
  return [
    make("span", { class: `state ${kind}` }, word),
    job?.cache === "HIT"
      ? make("span", {}, "at once")
      : began &&
        make(
          "span",
          { title: details(usage, tokens, pace) },
          `waited ${seconds(began - job.created_at)}${job.ended_at ? `, took ${seconds(job.ended_at - began)}` : ""}`,
        ),
    // That an answer was computed goes without saying.
    job?.cache &&
      job.cache !== "MISS" &&
      make("span", { class: "chip cache", title: `x-cache: ${job.cache}` }, CACHE[job.cache]),
  ];
}

const details = (usage, tokens, pace) =>
  [
    tokens > 0 && plural(tokens, "token"),
    pace && `${number(pace)} tokens/s`,
    usage &&
      `asked: ${number(usage.prompt_tokens)}, of them ${number(usage.image_tokens)} for pictures, ${number(usage.cached_tokens)} reused`,
  ]
    .filter(Boolean)
    .join("; ");

function acts(turn) {
  const text = text_of(turn);
  return make(
    "div",
    { class: "acts" },
    turn.status === "failed" &&
      can_be_paged(turn.request, turn.error_code) &&
      button("ask-per-page", { "data-turn": turn.key }, icon("document"), "Ask page by page"),
    text && button("copy", { class: "ghost small", "data-text": text }, icon("copy"), "Copy"),
    button("again", { class: "ghost small", "data-turn": turn.key }, icon("again"), "Ask again…"),
    // A job of pages has no program yet.
    turn.job &&
      !turn.request.per_page &&
      button(
        "code",
        { class: "ghost small", "data-turn": turn.key, "aria-expanded": String(Boolean(turn.code)) },
        icon("code"),
        "Use in code",
      ),
    turn.job && make("a", { class: "ghost small", href: `#jobs/${turn.job.id}` }, icon("open"), "Job"),
  );
}
