// The conversations of this tab. A reload keeps what was asked and the ids of the jobs; answers and pictures are read
// from these when a conversation is opened.

import { picture_of } from "./pictures.js";
import { StreamedText } from "./prose.js";
import { state } from "./store.js";
import { picture, session } from "./wire.js";

const NAME = "sightline-talks";
const MOST = 30;

export const make_talk = () => ({ key: `talk-${++state.ask.serial}`, turns: [], pictures: [], chosen: 0 });

// `before`: so many pictures of earlier questions its job has before its own.
export function add_turn(talk, request, more) {
  const turn = {
    key: `turn-${++state.ask.serial}`,
    request,
    talk,
    status: "sending",
    text: "",
    streamed: new StreamedText(),
    job: null,
    before: talk.turns.filter(({ text }) => text).flatMap((it) => it.request.pictures).length,
    note: "",
    stop: new AbortController(),
    ...more,
  };
  talk.turns.push(turn);
  return turn;
}

export function keep() {
  const talks = state.ask.talks.map(({ turns }) => turns.filter(({ job }) => job).map(kept));
  try {
    session?.setItem(NAME, JSON.stringify(talks.filter(({ length }) => length).slice(0, MOST)));
  } catch {
    // More than the browser has room for: what was kept before stays.
  }
}

const kept = ({ request, job, before }) => ({
  job: { id: job.id },
  before,
  request: { ...request, pictures: request.pictures.map(({ name, url }) => ({ name, url })) },
});

export function restore() {
  for (const turns of JSON.parse(session?.getItem(NAME) ?? "[]")) {
    const talk = make_talk();
    for (const { request, ...more } of turns) add_turn(talk, request, { ...more, status: "kept" });
    talk.pictures = talk.turns.flatMap(({ request }) => request.pictures);
    state.ask.talks.push(talk);
  }
}

// Reads the pictures of a kept conversation, and names the turns whose answers are to be read.
export function reopen(talk) {
  const turns = talk.turns.filter(({ status }) => status === "kept");
  for (const turn of turns) {
    turn.request.pictures = turn.request.pictures.map(({ name, url }, at) =>
      picture_of(name, url ? Promise.resolve(url) : picture(`v1/jobs/${turn.job.id}/pictures/${turn.before + at}`), { url }),
    );
  }
  if (turns.length) talk.pictures = talk.turns.flatMap(({ request }) => request.pictures);
  return turns;
}
