// The form for a question, and its answer as it comes.

import { $, say, seconds } from "./dom.js";
import { picture, setUp as setUpPicture } from "./picture.js";
import { call, events } from "./wire.js";

// Uploading a picture takes long on a slow connection.
const SEND_MS = 120_000;
let asked = null; // {job, stop, unwanted} while an answer is awaited

export function setUp(changed) {
  setUpPicture();
  $("ask").addEventListener("submit", (event) => (event.preventDefault(), ask(changed)));
  $("cancel").addEventListener("click", cancel);
  document.addEventListener("keydown", pressed);
}

function pressed(event) {
  // An Enter held down, ending a composition or closing a list is not meant to send the question.
  if (event.repeat || event.isComposing || event.defaultPrevented || $("job").open) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
  if (event.key === "Escape" && event.target.tagName !== "SELECT") cancel();
}

async function body() {
  const image = await picture();
  return {
    model: $("model").value,
    input: { prompt: $("question").value, ...(image ? { image } : {}) },
    priority: $("priority").value,
  };
}

async function ask(changed) {
  if (asked && !asked.job) return;
  asked?.stop.abort();
  const mine = (asked = { stop: new AbortController() });
  begin();
  try {
    await follow(mine, changed);
  } catch (error) {
    if (asked === mine) refused(error);
  }
  if (asked === mine) end();
  changed();
}

async function follow(mine, changed) {
  const more = $("fresh").checked ? { "x-use-cache": "false" } : {};
  const { data } = await call("v1/jobs", { method: "POST", body: await body(), more, limit_ms: SEND_MS });
  mine.job = data.id;
  tell(data);
  changed();
  if (mine.unwanted) cancel();
  for await (const event of events(data.id, mine.stop.signal, line)) {
    if (asked !== mine) return;
    hear(event);
  }
}

function begin() {
  $("reply").hidden = false;
  $("reply").className = "running";
  $("answer").setAttribute("aria-busy", "true");
  $("answer").textContent = $("facts").textContent = $("waits").textContent = "";
  line("");
  badge("status", "sending");
  badge("cache", "");
  $("cancel").disabled = false;
}

function end() {
  asked = null;
  line("");
  $("answer").setAttribute("aria-busy", "false");
  $("cancel").disabled = true;
  $("reply").className = "";
}

function hear({ type, data }) {
  // Offsets count code points; one beyond U+FFFF is two units to JavaScript.
  if (type === "text") $("answer").textContent = [...$("answer").textContent].slice(0, data.start).join("") + data.text;
  else if (data.job) tell(data.job);
  else badge("status", type === "requeued" ? "queued again" : type);
  if (type !== "queued") $("waits").textContent = "";
}

function tell(job) {
  badge("status", job.status);
  badge("cache", job.cache ?? "");
  const guess = job.estimate && `starts in about ${seconds(job.estimate.p50)}, ${job.ahead} ahead`;
  $("waits").textContent = job.status === "queued" ? [job.waiting_reason, guess].filter(Boolean).join(": ") : "";
  if (job.error) $("answer").textContent = `${job.error.message} (${job.error.code})`;
  if (!job.result) return;
  const { usage, compute_s } = job.result;
  $("answer").textContent = job.result.text;
  $("facts").textContent =
    `${usage.completion_tokens} tokens in ${seconds(compute_s)}, ` +
    `prompt ${usage.prompt_tokens} (picture ${usage.image_tokens}, reused ${usage.cached_tokens}), ` +
    `${job.cache === "HIT" ? "from the cache, " : ""}${seconds(job.ended_at - job.created_at)} total`;
}

function refused(error) {
  badge("status", "failed");
  $("answer").textContent = error.message;
}

function badge(id, word) {
  $(id).textContent = word;
  $(id).className = `badge ${word}`;
}

const line = (text) => say("line", text);

async function cancel() {
  const mine = asked;
  if (!mine) return;
  if (!mine.job) {
    mine.unwanted = true;
    line("will be cancelled as soon as it is submitted");
    return;
  }
  try {
    await call(`v1/jobs/${mine.job}/cancel`, { method: "POST" });
  } catch (error) {
    if (asked === mine) line(`Not cancelled: ${error.message}`);
  }
}
