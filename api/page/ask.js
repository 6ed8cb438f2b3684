// The question: a picture from disk, clipboard, address or sample; its answer as it is made.

import { $, make, seconds } from "./dom.js";
import { call, events } from "./wire.js";

const SAMPLES = { "shapes.png": "two shapes", "dots.png": "three triangles", "word.png": "the word CAT", "sign.png": "a pink triangle" };
let picture = null; // a data URI
let asked = null; // {job, stop} while an answer is awaited

export function setUp(changed) {
  $("drop").addEventListener("click", () => $("file").click());
  $("drop").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), $("file").click()));
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("url").addEventListener("input", () => $("url").value && show(null));
  for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, dragged);
  document.addEventListener("paste", (event) => take([...event.clipboardData.files].find((f) => f.type.startsWith("image/"))));
  $("samples").append(...Object.entries(SAMPLES).map(sample));
  $("ask").addEventListener("submit", (event) => (event.preventDefault(), ask(changed)));
  $("cancel").addEventListener("click", cancel);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
    if (event.key === "Escape" && asked && !$("job").open) cancel();
  });
}

function sample([file, name]) {
  const load = async () => take(await (await fetch(`page/${file}`)).blob());
  const image = make("img", { src: `page/${file}`, alt: name });
  return make("li", {}, make("button", { type: "button", title: name, onclick: load }, image));
}

function dragged(event) {
  event.preventDefault();
  $("drop").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") take(event.dataTransfer.files[0]);
}

function take(file) {
  if (!file) return;
  const reader = new FileReader();
  reader.addEventListener("load", () => (($("url").value = ""), show(reader.result)));
  reader.readAsDataURL(file);
}

function show(uri) {
  picture = uri;
  $("preview").hidden = !uri;
  $("hint").hidden = Boolean(uri);
  if (uri) $("preview").src = uri;
}

function body() {
  const image = $("url").value.trim() || picture;
  return {
    model: $("model").value,
    input: { prompt: $("question").value, ...(image ? { image } : {}) },
    priority: $("priority").value,
  };
}

async function ask(changed) {
  asked?.stop.abort();
  const mine = (asked = { stop: new AbortController() });
  begin();
  try {
    const more = $("fresh").checked ? { "x-use-cache": "false" } : {};
    const { data } = await call("v1/jobs", { method: "POST", body: body(), more });
    mine.job = data.id;
    tell(data);
    changed();
    for await (const event of events(data.id, mine.stop.signal)) hear(event);
  } catch (error) {
    if (!mine.stop.signal.aborted) refused(error);
  }
  if (asked === mine) end();
  changed();
}

function begin() {
  $("reply").hidden = false;
  $("reply").className = "running";
  $("answer").textContent = $("facts").textContent = $("waits").textContent = "";
  badge("status", "sending");
  badge("cache", "");
  $("cancel").disabled = false;
}

function end() {
  asked = null;
  $("cancel").disabled = true;
  $("reply").className = "";
}

function hear({ type, data }) {
  if (type === "text") $("answer").textContent = $("answer").textContent.slice(0, data.start) + data.text;
  else if (data.job) tell(data.job);
  else badge("status", type === "requeued" ? "queued again" : type);
  if (type !== "queued") $("waits").textContent = "";
}

function tell(job) {
  badge("status", job.status);
  badge("cache", job.cache ?? "");
  const guess = job.estimate && `begins in about ${seconds(job.estimate.p50)}, ${job.ahead} before it`;
  $("waits").textContent = job.status === "queued" ? [job.waiting_reason, guess].filter(Boolean).join(": ") : "";
  if (job.error) $("answer").textContent = `${job.error.message} (${job.error.code})`;
  if (!job.result) return;
  const { usage, compute_s } = job.result;
  $("answer").textContent = job.result.text;
  $("facts").textContent =
    `${usage.completion_tokens} tokens in ${seconds(compute_s)}, ` +
    `prompt ${usage.prompt_tokens} (picture ${usage.image_tokens}, known before ${usage.cached_tokens}), ` +
    `${job.cache === "HIT" ? "from the cache, " : ""}${seconds(job.ended_at - job.created_at)} in all`;
}

function refused(error) {
  badge("status", "failed");
  $("answer").textContent = error.message;
}

function badge(id, word) {
  $(id).textContent = word;
  $(id).className = `badge ${word}`;
}

async function cancel() {
  if (!asked?.job) return;
  await call(`v1/jobs/${asked.job}/cancel`, { method: "POST" }).catch(refused);
}
