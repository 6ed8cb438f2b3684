// Questions and their answers as they come, talk by talk.

import { action, shortcut } from "./actions.js";
import { article, ENDED, hero, stage, text_of } from "./conversation_view.js";
import { $, button, icon, make, settle, toast } from "./dom.js";
import { parts_of } from "./media.js";
import { page_job, has_outcome } from "./page_jobs.js";
import { image, is_seen } from "./pictures.js";
import { in_code } from "./snippets.js";
import { changed, paints, state } from "./store.js";
import { add_turn, keep, make_talk, reopen, restore, show_pages, shown_in } from "./talks.js";
import { small_picture } from "./thumbnails.js";
import { enlarge } from "./viewer.js";
import { place } from "./words.js";
import { Away, call, events, pause, page_visible } from "./wire.js";

// Uploading a picture takes long on a slow connection.
const SEND_MS = 120_000;
const PLACE_MS = 2000;
const LONGEST_WAIT_MS = 30_000;
const SENT_AT_MOST = 4;

export const turn_of = (key) => state.ask.talks.flatMap(({ turns }) => turns).find((turn) => turn.key === key);
export const busy = () => Boolean(state.ask.talk?.turns.some(({ status }) => !ENDED.includes(status)));

// The headers of a question.
export const more = ({ fresh }) => (fresh ? { "x-use-cache": "false" } : {});

export async function ask(request) {
  const talk = (state.ask.talk ??= begin());
  if (request.attachments.length) talk.chosen = shown_in(talk).length;
  const turn = add_turn(talk, request);
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
  const asked = await (turn.request.per_page ? page_job(turn.request) : body(turn.request, turn));
  turn.job = await submit(turn, { ...more(turn.request), "idempotency-key": new_key() }, asked);
  keep();
  if (turn.stop_due) stop(turn);
  await follow_job(turn, turn.job);
  announce(turn); // A known answer comes without events.
}

// `randomUUID` is there only by https, and on this machine.
const new_key = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-");

// Where no answer comes it is sent again under the same key, which names the same job.
async function submit(turn, headers, asked) {
  const { signal } = turn.stop;
  for (let tries = 1; ; tries++) {
    try {
      const { data } = await call("v1/jobs", { method: "POST", body: asked, more: headers, signal, limit_ms: SEND_MS });
      turn.note = turn.stop_due ? turn.note : "";
      return data;
    } catch (error) {
      if (!(error instanceof Away) || tries === SENT_AT_MOST) throw error;
      if (!turn.stop_due) turn.note = "no answer, sent again";
      changed();
      await pause(1000 * tries, signal);
    }
  }
}

// A question from before a reload.
async function look_up(turn) {
  const { data } = await read_again(turn);
  await follow_job(turn, data);
}

// The job as it is, however long the service is away or too busy.
async function read_again(turn) {
  const { signal } = turn.stop;
  for (let wait_ms = 1000; ; wait_ms = Math.min(2 * wait_ms, LONGEST_WAIT_MS)) {
    try {
      return await call(`v1/jobs/${turn.job.id}`, { signal });
    } catch (error) {
      if (!error.passing) throw error;
      await pause(Math.max(wait_ms, error.after_ms ?? 0), signal);
    }
  }
}

async function follow_job(turn, job) {
  show_pages(turn);
  const ended = ENDED.includes(job.status);
  if (ended && !turn.request.per_page) return end(turn, job);
  // The answers of its pages come as events: it has ended when they are here.
  take(turn, ended ? { ...job, status: "running" } : job);
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

// What is sent: a first question about pictures in the short form, which shares the cache with every other client's.
export async function body(request, turn = null) {
  const former = (turn?.talk ?? state.ask.talk)?.turns.filter((it) => it !== turn && text_of(it)) ?? [];
  const { model, priority, parameters, question } = request;
  const terms = { model, priority, ...(Object.keys(parameters).length && { parameters }) };
  const earlier = await Promise.all(
    former.map(async (it) => [await user(it.request), { role: "assistant", content: text_of(it) }]),
  );
  const parts = await parts_of(request);
  const images = parts.flatMap(({ image_url }) => image_url?.url ?? []);
  if (!former.length && images.length === parts.length)
    return { ...terms, input: { prompt: question, ...(images.length && { images }) } };
  return { ...terms, messages: [...earlier.flat(), await user(request)] };
}

// After the answers of all its pages a document is not sent once more.
async function user(request) {
  const parts = request.per_page ? [] : await parts_of(request);
  const text = request.question;
  return { role: "user", content: parts.length ? [...parts, { type: "text", text }] : text };
}

// Events say nothing of the place in line, nor of all pages' progress, so the job is read again meanwhile.
async function watch_place(turn) {
  const { signal } = turn.stop;
  const watched = ({ status }) => status === "queued" || (turn.request.per_page && status === "running");
  try {
    while (watched(turn) && !signal.aborted) {
      await pause(PLACE_MS, signal);
      if (document.hidden) await page_visible(signal);
      const { data } = await call(`v1/jobs/${turn.job.id}`, { signal });
      if (watched(turn) && watched(data)) take(turn, data);
    }
  } catch {
    // The events say how it goes on.
  }
}

function hear(turn, { type, data }) {
  if (type === "text") write(turn, data);
  else if (type === "page") take_page(turn, data.row);
  else if (data.job) end(turn, data.job);
  else if (type === "running") Object.assign(turn, { status: "running", began: data.at });
  else if (type === "requeued") (take(turn, { ...turn.job, status: "queued" }), watch_place(turn));
  announce(turn);
  changed();
}

function take_page(turn, row) {
  if (!has_outcome(row)) return;
  Object.assign(turn, { rows: [...turn.rows, row], status: "running" });
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
  if (job.result) {
    turn.text = job.result.text;
    // What pictures took is counted together: of one alone it is known.
    const [picture, ...others] = shown_in(turn.talk);
    if (picture && !others.length) picture.tokens = job.result.usage.image_tokens;
  }
  if (job.error) Object.assign(turn, { error: job.error.message, error_code: job.error.code });
}

function refused(turn, error) {
  const away = error instanceof Away;
  Object.assign(turn, { status: "failed", error: error.message, error_code: error.code, note: "", away });
}

// Only places in line and whole answers are read aloud.
function announce(turn) {
  const words = {
    queued: turn.job?.estimate && place(turn.job),
    running: "Answering",
    succeeded: turn.request.per_page ? "All pages are answered" : `Answer: ${turn.text}`,
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
  Object.assign(state.ask, { talks: [], talk: null, attachments: [], forecast: null, note: "" });
  state.ask.drafts.clear();
  $("question").value = $("announcement").textContent = "";
  keep();
  changed();
}

export function set_up() {
  const talk = restore();
  if (talk) open(talk);
  paints(paint_mine);
  paints(paint, "ask");
}

function paint_mine() {
  const { talks } = state.ask;
  settle(
    $("mine"),
    talks.length
      ? [
          button("new", { class: "mine-row", "data-key": "new" }, icon("plus"), make("span", {}, "New question")),
          talks.map(mine),
        ]
      : make("p", {}, "What you ask appears here until the tab is closed, and stays under Jobs."),
  );
  $("mine-box").classList.toggle("open", state.ask.menu === "mine");
}

function paint() {
  const { talk, talks } = state.ask;
  $("switcher").hidden = !talks.length;
  const attachments = shown_in(talk);
  const staged = attachments.some(is_seen);
  $("view-ask").classList.toggle("staged", staged);
  $("view-ask").classList.toggle("blank", !talk);
  settle($("stage"), staged ? stage(attachments, talk) : []);
  const log = $("log");
  const at_end = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  settle(log, talk ? talk.turns.map((turn) => article(turn, talk)) : hero());
  // Code that is opened below an answer does not push it out of sight.
  if (at_end && talk && !talk.turns.at(-1).code) log.scrollTop = log.scrollHeight;
}

function mine(talk) {
  const [first] = [...shown_in(talk), ...talk.turns[0].request.attachments];
  const job = first && !first.uri && pictured_job(talk);
  return button(
    "talk",
    {
      class: "mine-row",
      "data-key": talk.key,
      "data-talk": talk.key,
      "data-thumbnail": job,
      "aria-current": talk === state.ask.talk && state.view === "ask" && "true",
    },
    first ? image(job ? { ...first, uri: small_picture(job) } : first) : icon("ask"),
    make("span", { dir: "auto" }, talk.turns[0].request.question),
  );
}

// The job that has a conversation's first picture where the page has not: after a reload, and of another host.
function pictured_job({ turns }) {
  const { job, status, request } = turns.find((turn) => turn.request.attachments.length);
  return !request.per_page && (status === "kept" || ENDED.includes(status)) && job?.id;
}

function open(talk) {
  Object.assign(state.ask, { talk, model: talk.turns.at(-1).request.model });
  for (const turn of reopen(talk)) see_through(turn, look_up);
}

// What is being written stays with its conversation, and a new one begins empty.
export function change_talk(talk) {
  const { ask } = state;
  const [question, pages, per_page] = ["question", "pages", "per-page"].map((id) => $(id));
  const begun = { question: question.value, pages: pages.value, per_page: per_page.checked };
  ask.drafts.set(ask.talk, { ...begun, attachments: ask.attachments });
  const draft = ask.drafts.get(talk) ?? { question: "", pages: "", per_page: false, attachments: [] };
  ask.drafts.delete(talk);
  Object.assign(ask, { talk, attachments: draft.attachments, forecast: null });
  question.value = draft.question;
  pages.value = draft.pages;
  per_page.checked = draft.per_page;
  $("ask-form").dispatchEvent(new Event("input"));
}

function begin_anew() {
  change_talk(null);
  keep();
  location.hash = "ask";
  changed();
  $("question").focus();
}

action("new", begin_anew);
// On its own view the link to it would do nothing.
action("view-ask", () => state.view === "ask" && !busy() && begin_anew());
action("talk", ({ dataset }) => {
  const talk = state.ask.talks.find(({ key }) => key === dataset.talk);
  change_talk(talk);
  open(talk);
  keep();
  location.hash = "ask";
  changed();
});
// Where there is no room for a stage, it is shown by itself.
action("stage", (element) => {
  if (!$("stage").checkVisibility()) return enlarge(element);
  state.ask.talk.chosen = Number(element.dataset.picture);
  changed();
});
// The program is that of what the service was asked, whichever way it came there.
action("code", async ({ dataset }) => {
  const turn = turn_of(dataset.turn);
  try {
    const { job, request } = turn;
    turn.code = turn.code ? null : in_code((await call(`v1/jobs/${job.id}/request`)).data, job, request.fresh);
  } catch (error) {
    toast(error.message);
  }
  changed();
  // It opens below what is in sight.
  if (turn.code)
    requestAnimationFrame(() => $("log").querySelector(`[data-key=${turn.key}] .snippet`)?.scrollIntoView());
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
