// Calls to the service this page came from: plain requests, and one job's events as they come.

const ANSWER_MS = 10_000;
const MINUTE_MS = 60_000;
const keyField = document.getElementById("key");
const kept = storage();
keyField.value = kept?.getItem("sightline-key") ?? "";
keyField.addEventListener("change", () => kept?.setItem("sightline-key", keyField.value));
let quota = 0; // the key's requests a minute, where it has such

// An error from the service, or from a proxy in front of it.
export class Refusal extends Error {
  constructor(status, body, headers) {
    const said = body?.error?.message ?? body?.detail ?? body?.error ?? `The service answered ${status}.`;
    super(typeof said === "string" ? said : JSON.stringify(said));
    this.status = status;
    this.code = body?.code ?? body?.error?.code ?? "";
    this.after_ms = 1000 * Number(headers?.get("retry-after")) || 0;
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

// Null where the browser blocks storage: the key is then kept in its field alone.
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

function headers(more) {
  const key = keyField.value.trim();
  if (/[^\x21-\x7e]/.test(key)) throw new Refusal(401, { detail: "The API key contains invalid characters: copy it again." });
  return { ...more, ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

// The answer's JSON and its headers. Throws Refusal, or Away.
export async function call(path, { method = "GET", body, more = {}, signal, limit_ms = ANSWER_MS } = {}) {
  const told = body === undefined ? {} : { "content-type": "application/json" };
  const asked = { method, headers: headers({ ...told, ...more }), body: body && JSON.stringify(body) };
  const { answer, text } = await whole(path, asked, signal, limit_ms).catch((error) => {
    throw signal?.aborted ? error : new Away();
  });
  const parsed = json(text);
  if (!answer.ok) throw new Refusal(answer.status, parsed, answer.headers);
  quota = Number(/"requests";q=(\d+)/.exec(answer.headers.get("ratelimit-policy"))?.[1]);
  if (text && !parsed) throw new Refusal(answer.status, { detail: "This answer is not the service's own, perhaps a proxy's: reload the page." });
  return { data: parsed, headers: answer.headers };
}

// A slow answer still counts: only a silence of `limit_ms`, before or within it, is a failure.
async function whole(path, asked, signal, limit_ms) {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => (clearTimeout(timer), (timer = setTimeout(() => silence.abort(), limit_ms)));
  try {
    heard();
    const answer = await fetch(path, { ...asked, signal: AbortSignal.any([signal, silence.signal].filter(Boolean)) });
    heard();
    let text = "";
    for await (const piece of pieces(answer)) heard(), (text += piece);
    return { answer, text };
  } finally {
    clearTimeout(timer);
  }
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

// The pause between two rounds of `calls` requests: half of a key's quota is left for questions.
export const spacing_ms = (calls) => (quota ? (2 * calls * MINUTE_MS) / quota : 0);

// Every event of a job, exactly once and in order. A broken connection is taken up again behind the last event
// that came, and `said` is told of it. EventSource would do the same, but cannot send a key.
export async function* events(job, signal, said) {
  let last = 0;
  for (let tries = 0; ; tries++) {
    const hidden = hiding();
    let wait_ms = Math.min(5000, 250 * 2 ** tries);
    try {
      for await (const event of stream(job, last, AbortSignal.any([signal, hidden.signal]), said)) {
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
    if (document.hidden) await shown(signal);
    else said("connection lost, trying again"), await pause(wait_ms, signal);
  }
}

// A browser has six connections to a host for all its tabs, so hidden tabs give theirs back.
function hiding() {
  const until = new AbortController();
  if (document.hidden) until.abort();
  document.addEventListener("visibilitychange", () => document.hidden && until.abort(), { signal: until.signal });
  return until;
}

export function shown(signal) {
  return new Promise((resolve, reject) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

async function* stream(job, after, signal, said) {
  const answer = await fetch(`v1/jobs/${job}/events?after=${after}`, { headers: headers({}), signal });
  if (!answer.ok) throw new Refusal(answer.status, json(await answer.text()), answer.headers);
  said("");
  let rest = "";
  for await (const piece of pieces(answer)) {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    for (const event of blocks.map(read).filter(Boolean)) {
      // The service's own `error` event, without an id, ends this connection but not the job.
      if (event.type === "error" || !Number.isFinite(event.id)) return;
      yield event;
    }
  }
}

function read(block) {
  const fields = Object.fromEntries(
    block.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s, 2)),
  );
  return fields.data && { id: Number(fields.id), type: fields.event, data: JSON.parse(fields.data) };
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
