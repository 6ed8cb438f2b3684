// Questions and their answers as they come, talk by talk.

import { action, shortcut } from "./actions.js";
import { $, button, icon, make, settle } from "./dom.js";
import { facts_of, image, SAMPLES } from "./pictures.js";
import { own_place, rows } from "./line.js";
import { waiting } from "./fleet.js";
import { prose } from "./prose.js";
import { snippet } from "./snippets.js";
import { changed, paints, state } from "./store.js";
import { add_turn, keep, make_talk, reopen, restore } from "./talks.js";
import { about, CACHE, now, number, place, plural, PRIORITIES, REASONS, seconds, short, STATUSES } from "./words.js";
import { call, events, pause, page_visible, spacing_ms } from "./wire.js";

// Uploading a picture takes long on a slow connection.
const SEND_MS = 120_000;
const PLACE_MS = 2000;
const ENDED = ["succeeded", "failed", "cancelled"];

export const turn_of = (key) => state.ask.talks.flatMap(({ turns }) => turns).find((turn) => turn.key === key);
export const busy = () => Boolean(state.ask.talk?.turns.some(({ status }) => !ENDED.includes(status)));

// The headers of a question.
export const more = ({ fresh }) => (fresh ? { "x-use-cache": "false" } : {});

export async function ask(request) {
  const talk = (state.ask.talk ??= begin());
  const turn = add_turn(talk, request);
  if (request.pictures.length) talk.chosen = talk.pictures.length;
  talk.pictures.push(...request.pictures);
  changed();
  $("log").scrollTop = $("log").scrollHeight;
  await see_through(turn, follow);
}

async function see_through(turn, work) {
  try {
    await work(turn);
  } catch (error) {
    if (!turn.stop.signal.aborted) refused(turn, error);
  }
  turn.stop.abort();
  changed();
}

function begin() {
  const talk = make_talk();
  state.ask.talks.unshift(talk);
  return talk;
}

async function follow(turn) {
  const { data } = await call("v1/jobs", {
    method: "POST",
    body: await body(turn.request, turn),
    more: more(turn.request),
    limit_ms: SEND_MS,
  });
  take(turn, data);
  keep();
  if (turn.stop_due) stop(turn);
  await listen(turn);
}

// A question from before a reload.
async function look_up(turn) {
  const { data } = await call(`v1/jobs/${turn.job.id}`, { signal: turn.stop.signal });
  if (ENDED.includes(data.status)) return end(turn, data);
  take(turn, data);
  await listen(turn);
}

async function listen(turn) {
  watch_place(turn);
  const { signal } = turn.stop;
  for await (const event of events(turn.job.id, signal, (note) => ((turn.note = note), changed()))) {
    if (signal.aborted) return;
    hear(turn, event);
  }
}

// What is sent: a first question in the short form, which shares the cache with every other client's.
export async function body(request, turn = null) {
  const former = (turn?.talk ?? state.ask.talk)?.turns.filter((it) => it !== turn && it.text) ?? [];
  const { model, priority, parameters, question } = request;
  const terms = { model, priority, ...(Object.keys(parameters).length && { parameters }) };
  const images = await Promise.all(request.pictures.map(({ ready }) => ready));
  if (!former.length) return { ...terms, input: { prompt: question, ...(images.length && { images }) } };
  const earlier = await Promise.all(former.map(both_sides));
  return { ...terms, messages: [...earlier.flat(), user(question, images)] };
}

async function both_sides({ request, text }) {
  const images = await Promise.all(request.pictures.map(({ ready }) => ready));
  return [user(request.question, images), { role: "assistant", content: text }];
}

function user(text, images) {
  const parts = images.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: parts.length ? [...parts, { type: "text", text }] : text };
}

// Events say nothing of the place in line, so the job is read again while it waits.
async function watch_place(turn) {
  const { signal } = turn.stop;
  try {
    while (turn.status === "queued" && !signal.aborted) {
      await pause(Math.max(PLACE_MS, spacing_ms(1)), signal);
      if (document.hidden) await page_visible(signal);
      const { data } = await call(`v1/jobs/${turn.job.id}`, { signal });
      if (turn.status === "queued" && data.status === "queued") take(turn, data);
    }
  } catch {
    // The events say how it goes on.
  }
}

function hear(turn, { type, data }) {
  if (type === "text") write(turn, data);
  else if (data.job) end(turn, data.job);
  else if (type === "running") Object.assign(turn, { status: "running", began: data.at });
  else if (type === "requeued") (take(turn, { ...turn.job, status: "queued" }), watch_place(turn));
  announce(turn);
  changed();
}

function write(turn, { start, text, ids, at }) {
  turn.streamed.write(start, text);
  turn.text = turn.streamed.text;
  turn.first ??= at;
  turn.tokens = (turn.tokens ?? 0) + (ids?.length ?? 0);
}

function take(turn, job) {
  Object.assign(turn, { job, status: job.status });
  announce(turn);
  changed();
}

function end(turn, job) {
  Object.assign(turn, { job, status: job.status, note: "" });
  if (job.result) turn.text = job.result.text;
  if (job.error) turn.error = `${job.error.message} (${job.error.code})`;
}

function refused(turn, error) {
  Object.assign(turn, { status: "failed", error: error.message, note: "" });
}

// Only places in line and whole answers are read aloud.
function announce(turn) {
  const words = {
    queued: turn.job?.estimate && place(turn.job),
    running: "Answering",
    succeeded: `Answer: ${turn.text}`,
    failed: turn.error,
    cancelled: "Stopped",
  }[turn.status];
  if (!words || words === turn.announced) return;
  turn.announced = words;
  $("announcement").textContent = words;
}

async function stop(turn) {
  if (!turn.job) {
    turn.stop_due = true;
    turn.note = "will be cancelled as soon as it is submitted";
    return changed();
  }
  try {
    await call(`v1/jobs/${turn.job.id}/cancel`, { method: "POST" });
  } catch (error) {
    if (!ENDED.includes(turn.status)) turn.note = `Not cancelled: ${error.message}`;
  }
  changed();
}

// With another key, nothing that the old one showed stays on the screen.
export function forget() {
  for (const turn of state.ask.talks.flatMap(({ turns }) => turns)) turn.stop.abort();
  Object.assign(state.ask, { talks: [], talk: null, pictures: [], forecast: null, note: "" });
  keep();
  changed();
}

export function set_up() {
  restore();
  paints(paint);
}

function paint() {
  const { talk, talks } = state.ask;
  settle(
    $("mine"),
    talks.length
      ? [
          button("new", { class: "mine-row", "data-key": "new" }, icon("plus"), make("span", {}, "New question")),
          talks.map(mine),
        ]
      : make("p", {}, "What you ask appears here until the tab is closed."),
  );
  $("mine-box").classList.toggle("open", state.ask.menu === "mine");
  if (state.view !== "ask") return;
  $("switcher").hidden = !talks.length;
  const staged = Boolean(talk?.pictures.length);
  $("view-ask").classList.toggle("staged", staged);
  $("view-ask").classList.toggle("blank", !talk);
  settle($("stage"), staged ? stage(talk) : []);
  const log = $("log");
  const at_end = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  settle(log, talk ? talk.turns.map((turn) => article(turn, talk)) : hero());
  // Code that is opened below an answer does not push it out of sight.
  if (at_end && talk && !talk.turns.at(-1).code) log.scrollTop = log.scrollHeight;
}

function mine(talk) {
  const [first] = talk.pictures;
  return button(
    "talk",
    {
      class: "mine-row",
      "data-key": talk.key,
      "data-talk": talk.key,
      "aria-current": talk === state.ask.talk && state.view === "ask" && "true",
    },
    first ? image(first) : icon("ask"),
    make("span", { dir: "auto" }, talk.turns[0].request.question),
  );
}

function hero() {
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
      "Drop one here, paste it, or start with one of these. You see your place in line, and the answer as it is written.",
    ),
    make("div", { class: "samples", id: "samples" }, samples),
  );
}

function stage({ pictures, chosen }) {
  const big = pictures.length === 2 ? pictures : [pictures[chosen]];
  return [
    make(
      "div",
      { class: big.length > 1 ? "big two" : "big" },
      big.map((picture) => image(picture)),
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
          "aria-pressed": String(from + at === state.ask.talk.chosen),
          "aria-label": `Show ${picture.name}`,
        },
        image(picture),
      ),
    ),
  );

function article(turn, talk) {
  const { pictures, question } = turn.request;
  return make(
    "article",
    { class: `turn${turn === talk.turns.at(-1) ? "" : " old"}`, "data-key": turn.key, "data-status": turn.status },
    make(
      "div",
      { class: "question" },
      pictures.length > 0 && thumbs(pictures, talk.pictures.indexOf(pictures[0])),
      make("h2", { dir: "auto" }, question),
    ),
    turn.status === "queued" && !turn.text ? in_line(turn.job) : answer(turn),
    make("div", { class: "facts" }, facts(turn), turn.note && make("span", { class: "note" }, turn.note)),
    ENDED.includes(turn.status) && acts(turn),
    turn.code && snippet(question_in_code(turn)),
  );
}

function answer({ text, status, error }) {
  if (status === "failed") return [text && prose(text), make("p", { class: "failure answer", dir: "auto" }, error)];
  if (text) return make("div", { class: "answer" }, prose(text, status === "running"));
  const words = { sending: "Sending", kept: "Reading it again", running: "Looking at it", cancelled: "Stopped before it began." }[status];
  return make(
    "p",
    { class: "muted answer" },
    words,
    status !== "cancelled" && make("span", { class: "cursor", "aria-hidden": "true" }),
  );
}

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
        "It is kept, and begins when there is room. You may leave: you find it under Jobs.",
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

function facts(turn) {
  const { job, status } = turn;
  const usage = job?.result?.usage;
  const began = job?.started_at ?? turn.began;
  const tokens = usage?.completion_tokens ?? turn.tokens;
  const span_s = (job?.ended_at ?? now()) - turn.first;
  const pace = tokens > 3 && job?.cache !== "HIT" && span_s > 0.2 && tokens / span_s;
  const [word, kind] = STATUSES[status] ?? ["Sending", "idle"];
  return [
    make("span", { class: `state ${kind}` }, word),
    job?.cache === "HIT"
      ? make("span", {}, "at once")
      : began &&
        make(
          "span",
          {},
          `waited ${seconds(began - job.created_at)}${job.ended_at ? `, took ${seconds(job.ended_at - began)}` : ""}`,
        ),
    tokens > 0 &&
      make(
        "span",
        {
          title:
            usage &&
            `Asked: ${number(usage.prompt_tokens)}, of them ${number(usage.image_tokens)} for pictures, ${number(usage.cached_tokens)} reused`,
        },
        plural(tokens, "token"),
      ),
    pace && make("span", {}, `${number(pace)} tokens/s`),
    job?.cache && make("span", { class: "chip cache", title: CACHE[job.cache] }, "Cache ", make("b", {}, job.cache)),
  ];
}

const acts = (turn) =>
  make(
    "div",
    { class: "acts" },
    turn.text && button("copy", { class: "ghost small", "data-text": turn.text }, icon("copy"), "Copy"),
    button("again", { class: "ghost small", "data-turn": turn.key }, icon("again"), "Ask again…"),
    button(
      "code",
      { class: "ghost small", "data-turn": turn.key, "aria-expanded": String(Boolean(turn.code)) },
      icon("code"),
      "Use in code",
    ),
    turn.job && make("a", { class: "ghost small", href: `#jobs/${turn.job.id}` }, icon("open"), "Job"),
  );

function question_in_code({ request, job, talk, key }) {
  const until = talk.turns.findIndex((turn) => turn.key === key);
  const messages = [];
  let count = 0;
  for (const turn of talk.turns.slice(0, until + 1).filter((it) => it.text || it.key === key)) {
    const parts = turn.request.pictures.map(({ url, name }) => ({ picture: count++, url, name }));
    messages.push({ role: "user", parts, text: turn.request.question });
    if (turn.key !== key) messages.push({ role: "assistant", parts: [], text: turn.text });
  }
  return { ...request, job: job?.id, messages };
}

function begin_anew() {
  state.ask.talk = null;
  location.hash = "ask";
  changed();
  $("question").focus();
}

action("new", begin_anew);
// On its own view the link to it would do nothing.
action("view-ask", () => state.view === "ask" && !busy() && begin_anew());
action("talk", ({ dataset }) => {
  const talk = state.ask.talks.find(({ key }) => key === dataset.talk);
  state.ask.talk = talk;
  for (const turn of reopen(talk)) see_through(turn, look_up);
  location.hash = "ask";
  changed();
});
action("stage", ({ dataset }) => ((state.ask.talk.chosen = Number(dataset.picture)), changed()));
action("code", ({ dataset }) => {
  const turn = turn_of(dataset.turn);
  turn.code = !turn.code;
  changed();
});
action("stop", stop_latest);

function stop_latest() {
  const turn = state.ask.talk?.turns.find(({ status }) => !ENDED.includes(status));
  if (turn) stop(turn);
  return Boolean(turn);
}

shortcut(
  ({ key, target }) =>
    key === "Escape" && state.view === "ask" && !state.ask.menu && target.tagName !== "SELECT" && stop_latest(),
);
