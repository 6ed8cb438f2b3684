// Puts the page together and keeps it fresh while somebody looks at it.

import * as ask from "./ask.js";
import { $, make, say, settle } from "./dom.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import { Panel } from "./panel.js";
import * as queue from "./queue.js";
import { Away, pause, spacing_ms } from "./wire.js";

const EVERY_MS = 2000;
const IDLE_MS = 8000;
const MODELS_MS = 30_000;

const models = new Panel(() => "v1/models", listModels, "model-note");
const list = new Panel(jobs.path, jobs.paint, "jobs-note");
const fleet = new Panel(queue.path, paintQueue, "queue-note");
const panels = [models, list, fleet];
let line = "serving";
let modelsDue = 0;
let wait_ms = EVERY_MS;

ask.setUp(() => refresh());
job.setUp(() => list.refresh());
jobs.setUp(() => list.refresh());
$("key").addEventListener("change", () => (panels.forEach((panel) => panel.forget()), lookAgain()));
document.addEventListener("visibilitychange", () => document.hidden || lookAgain());

function lookAgain() {
  modelsDue = 0;
  return refresh();
}

async function refresh() {
  const looked = [list, fleet];
  if (performance.now() >= modelsDue || models.error) {
    modelsDue = performance.now() + MODELS_MS;
    looked.push(models);
  }
  const changed = await Promise.all(looked.map((panel) => panel.refresh()));
  // Poll less often while nothing changes.
  wait_ms = changed.some(Boolean) ? EVERY_MS : Math.min(IDLE_MS, 2 * wait_ms);
  tell();
}

// A model added or removed while the page is open does not change the chosen one.
function listModels(data) {
  const options = (data?.data ?? []).map(({ id }) => make("option", { "data-key": id }, id));
  settle($("model"), options);
  $("key").placeholder = data && !$("key").value ? "not needed" : "";
  settle($("by-model"), [make("option", { value: "" }, "any"), ...options.map((option) => option.cloneNode(true))]);
}

function paintQueue(data) {
  queue.paint(data);
  line = data ? queue.sum(data) : "serving";
}

function tell() {
  const errors = panels.map((panel) => panel.error).filter(Boolean);
  const away = errors.find((error) => error instanceof Away);
  const stranger = errors.find((error) => error.status === 401);
  say("service", away ? `${away.message} Trying again.` : (stranger?.message ?? line));
}

for (;;) {
  if (!document.hidden) await refresh();
  const asked_ms = Math.max(...panels.map(({ error }) => error?.after_ms ?? 0));
  await pause(Math.max(wait_ms, asked_ms, spacing_ms(2 + job.calls())));
}
