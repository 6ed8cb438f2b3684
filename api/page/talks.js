// The conversations of this tab. A reload keeps what was asked and the ids of the jobs; answers and pictures are read
// from these when a conversation is opened.

import { has_document } from "./media.js";
import { attachment_of } from "./pictures.js";
import { StreamedText } from "./prose.js";
import { state } from "./store.js";
import { call, picture, session } from "./wire.js";

const NAME = "sightline-conversations";
const MOST = 30;
const SHOWN_PX = 512; // as large as the service makes them

export const make_talk = () => ({ key: `talk-${++state.ask.serial}`, turns: [], chosen: 0 });

// What a conversation is about, in the order in which it was shown. Pages that are asked one by one stand beside their
// answers.
export const shown_in = (talk) =>
  talk?.turns.flatMap(({ shown, request }) => (request.per_page ? [] : (shown ?? request.attachments))) ?? [];

export function add_turn(talk, request, more) {
  const turn = {
    key: `turn-${++state.ask.serial}`,
    request,
    talk,
    status: "sending",
    text: "",
    streamed: new StreamedText(),
    job: null,
    rows: [], // of a job of pages, as they end
    shown: null, // pictures in place of what was attached: a document's pages
    note: "",
    stop: new AbortController(),
    ...more,
  };
  talk.turns.push(turn);
  return turn;
}

export function keep() {
  const talks = state.ask.talks.filter(({ turns }) => turns.some(({ job }) => job)).slice(0, MOST);
  const all = talks.map(({ turns }) => turns.filter(({ job }) => job).map(kept));
  try {
    session?.setItem(NAME, JSON.stringify({ all, open: talks.indexOf(state.ask.talk) }));
  } catch {
    // More than the browser has room for: what was kept before stays.
  }
}

// A job that is deleted leaves its conversation, which goes with its last question.
export function remove_job(id) {
  for (const talk of state.ask.talks) talk.turns = talk.turns.filter(({ job }) => job?.id !== id);
  state.ask.talks = state.ask.talks.filter(({ turns }) => turns.length);
  if (!state.ask.talks.includes(state.ask.talk)) state.ask.talk = null;
  keep();
}

const kept = ({ request, job }) => ({
  job: { id: job.id },
  request: {
    ...request,
    attachments: request.attachments.map(({ name, kind, url, file_id, tokens }) => ({
      name,
      kind,
      url,
      file_id,
      tokens,
    })),
  },
});

// The conversation that was open, if any.
export function restore() {
  const { all, open } = JSON.parse(session?.getItem(NAME) ?? '{"all":[]}');
  for (const turns of all) {
    const talk = make_talk();
    for (const { request, ...more } of turns) add_turn(talk, request, { ...more, status: "kept" });
    state.ask.talks.push(talk);
  }
  return state.ask.talks[open];
}

// Reads the pictures of a kept conversation, and names the turns whose answers are to be read.
export function reopen(talk) {
  // One may be looked up already, for as long as the service is away.
  const turns = talk.turns.filter(({ status, lookup }) => status === "kept" && !lookup);
  for (const turn of turns) {
    turn.lookup = true;
    const all = turn.request.attachments;
    const images = all.some(({ kind, url }) => kind === "picture" && !url) && images_of(turn);
    turn.request.attachments = all.map(({ name, ...more }, at) => {
      if (more.kind !== "picture" || more.url) return attachment_of(name, Promise.resolve(more.url), more);
      const ready = images.then((found) => picture(path_of(turn, found[place(all, at, found.length)])));
      return attachment_of(name, ready, more);
    });
  }
  return turns;
}

// Where a picture stands among a question's: of a document nobody here knows how many pages it has.
function place(all, at, count) {
  const pictures = (some) => some.filter(({ kind }) => kind === "picture").length;
  return has_document(all.slice(0, at)) ? count - pictures(all.slice(at)) : pictures(all.slice(0, at));
}

async function images_of({ job }) {
  const { data } = await call(`v1/jobs/${job.id}/request`);
  const { content } = data.messages.at(-1);
  return typeof content === "string" ? [] : content.filter(({ type }) => type === "image");
}

const path_of = ({ job }, { n }) => `v1/jobs/${job.id}/pictures/${n}`;

// A document is shown as its pages, once the service has them, beside the pictures that were sent with it. A job of
// pages keeps none itself.
export async function show_pages(turn) {
  const all = turn.request.attachments;
  if (!has_document(all) || turn.request.per_page) return;
  const images = await images_of(turn).catch(() => []);
  const pictures = new Map(
    all.flatMap((it, at) => (it.kind === "picture" ? [[place(all, at, images.length), it]] : [])),
  );
  let pages = 0;
  if (images.length)
    turn.shown = images.map((image, at) => {
      const path = path_of(turn, image);
      const sent = pictures.get(at);
      if (!sent) return page_of(++pages, path);
      return sent.url ? attachment_of(sent.name, small(path), { scaled: true }) : sent;
    });
}

const small = (path) => picture(`${path}?side=${SHOWN_PX}`);
const page_of = (number, path) => attachment_of(`Page ${number}`, small(path), { scaled: true, path });
