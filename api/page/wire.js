// Calls to the service this page came from: plain requests, and one job's events as they come.

import { state } from "./store.js";
import { about } from "./words.js";

const ANSWER_MS = 10_000;
const SILENCE_MS = 30_000; // of a stream, which has a comment every ten seconds
const PICTURE_MS = 60_000;
export const session = storage();
state.key = session?.getItem("sightline-key") ?? "";

export function keep_key(key) {
  state.key = key.trim();
  session?.setItem("sightline-key", state.key);
}

// An error from the service, or from a proxy in front of it.
class Refusal extends Error {
  constructor(status, body, headers) {
    const reason = body?.error?.message ?? body?.detail ?? body?.error ?? `The service answered ${status}.`;
    const after_s = Number(headers?.get("retry-after")) || 0;
    const when = status === 429 && after_s ? ` Try again in ${about(after_s)}.` : "";
    super((typeof reason === "string" ? reason : JSON.stringify(reason)) + when);
    this.status = status;
    this.code = body?.code ?? body?.error?.code ?? "";
    this.after_ms = 1000 * after_s;
    this.passing = status >= 500 || status === 408 || status === 429;
  }
}

// The service could not be reached.
export class Away extends Error {
  constructor() {
    super("The service is unreachable.");
    this.passing = true;
  }
}

// Null where the browser blocks storage: the key is then kept until the page is left.
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

function headers(more) {
  const { key } = state;
  if (/[^\x21-\x7e]/.test(key))
    throw new Refusal(401, { detail: "The API key contains invalid characters: copy it again." });
  return { ...more, ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

// The answer's JSON and its headers; `accept` has statuses that answer, too. Throws Refusal, or Away.
export async function call(path, { method = "GET", body, more = {}, signal, limit_ms = ANSWER_MS, accept = [] } = {}) {
  const form = body instanceof FormData;
  const type = body === undefined || form ? {} : { "content-type": "application/json" };
  const request = { method, headers: headers({ ...type, ...more }), body: form ? body : body && JSON.stringify(body) };
  const { answer, text } = await whole(path, request, signal, limit_ms).catch((error) => {
    throw signal?.aborted ? error : new Away();
  });
  const parsed = json(text);
  if (!answer.ok && !accept.includes(answer.status)) throw new Refusal(answer.status, parsed, answer.headers);
  if (text && !parsed)
    throw new Refusal(answer.status, {
      detail: "This answer is not the service's own, perhaps a proxy's: reload the page.",
    });
  return { data: parsed, headers: answer.headers };
}

// A slow answer still counts: only a silence of `limit_ms`, before or within it, is a failure.
async function whole(path, request, signal, limit_ms) {
  const silence = silence_limit(signal, limit_ms);
  try {
    const answer = await fetch(path, { ...request, signal: silence.signal });
    silence.extend();
    let text = "";
    for await (const piece of pieces(answer)) (silence.extend(), (text += piece));
    return { answer, text };
  } finally {
    silence.end();
  }
}

// A signal that also comes after `limit_ms` in which nothing was heard: `extend` it with what is.
function silence_limit(signal, limit_ms) {
  const silence = new AbortController();
  let timer = 0;
  const extend = () => (clearTimeout(timer), (timer = setTimeout(() => silence.abort(), limit_ms)));
  extend();
  const either = AbortSignal.any([signal, silence.signal].filter(Boolean));
  return { signal: either, extend, end: () => clearTimeout(timer) };
}

// The text of an answer as it comes.
async function* pieces(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// A picture of the service as a data URI: an <img> cannot send a key, and the page's policy allows no blob URLs.
export async function picture(path, signal, hear = () => {}) {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PICTURE_MS)].filter(Boolean));
  const answer = await fetch(path, { headers: headers({}), signal: limit }).catch((error) => {
    throw signal?.aborted ? error : new Away();
  });
  if (!answer.ok) throw new Refusal(answer.status, json(await answer.text()), answer.headers);
  hear(answer.headers);
  return data_uri(await answer.blob());
}

export function data_uri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () =>
      reject(new Error(`${blob.name ?? "The picture"} cannot be read; choose it again.`)),
    );
    reader.readAsDataURL(blob);
  });
}

// Every event of a job, exactly once and in order; see `resumed`. `state.following` counts the jobs followed so.
export async function* events(job, signal, report) {
  const follow = (by) => ((state.following += by), window.dispatchEvent(new Event("following")));
  follow(1);
  try {
    yield* resumed(job, signal, report);
  } finally {
    follow(-1);
  }
}

// A broken connection is taken up again behind the last event that came, and `report` gets a line about it.
// EventSource would do the same, but cannot send a key.
async function* resumed(job, signal, report) {
  let last = 0;
  for (let tries = 0; ; tries++) {
    const hidden = hiding();
    let wait_ms = Math.min(5000, 250 * 2 ** tries);
    try {
      const until = AbortSignal.any([signal, hidden.signal]);
      const more = last ? { "last-event-id": last } : {};
      for await (const event of stream(`v1/jobs/${job}/events`, until, () => report(""), more)) {
        // The service's own `error` event, without an id, ends this connection but not the job.
        if (event.type === "error" || !Number.isFinite(event.id)) break;
        tries = 0;
        last = event.id;
        yield event;
        if (event.data.job) return;
      }
    } catch (error) {
      if (signal.aborted || error.passing === false) throw error;
      wait_ms = Math.max(wait_ms, error.after_ms ?? 0);
    } finally {
      hidden.abort();
    }
    if (document.hidden) await page_visible(signal);
    else (report("connection lost, trying again"), await pause(wait_ms, signal));
  }
}

// What changes at the service, from when `opened` is called until the connection breaks or the tab is hidden.
export async function* changes(signal, opened) {
  const hidden = hiding();
  try {
    yield* stream("v1/live", AbortSignal.any([signal, hidden.signal]), opened);
  } finally {
    hidden.abort();
  }
}

// A browser has six connections to a host for all its tabs, so hidden tabs give theirs back.
function hiding() {
  const until = new AbortController();
  if (document.hidden) until.abort();
  document.addEventListener("visibilitychange", () => document.hidden && until.abort(), { signal: until.signal });
  return until;
}

export function page_visible(signal) {
  return new Promise((resolve, reject) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

async function* stream(path, signal, opened, more = {}) {
  const silence = silence_limit(signal, SILENCE_MS);
  try {
    const answer = await fetch(path, { headers: headers(more), signal: silence.signal });
    if (!answer.ok) throw new Refusal(answer.status, json(await answer.text()), answer.headers);
    opened();
    let rest = "";
    for await (const piece of pieces(answer)) {
      silence.extend();
      const blocks = (rest + piece).split("\n\n");
      rest = blocks.pop();
      yield* blocks.map(read).filter(Boolean);
    }
  } finally {
    silence.end();
  }
}

function read(block) {
  const fields = Object.fromEntries(
    block
      .split("\n")
      .filter((line) => !line.startsWith(":"))
      .map((line) => line.split(/: (.*)/s, 2)),
  );
  return fields.data && { id: Number(fields.id), type: fields.event, data: JSON.parse(fields.data) };
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
