// Puts the page together and keeps it fresh while somebody looks at it.

import * as ask from "./ask.js";
import { $, make } from "./dom.js";
import * as jobs from "./jobs.js";
import * as queue from "./queue.js";
import { call, pause } from "./wire.js";

const EVERY_MS = 2000;

ask.setUp(() => refresh());
jobs.setUp();
$("key").addEventListener("change", () => refresh());
document.addEventListener("visibilitychange", () => document.hidden || refresh());

async function refresh() {
  try {
    if (!$("model").options.length) await listModels();
    await Promise.all([jobs.refresh(), queueIfAllowed()]);
  } catch (error) {
    tell(error instanceof TypeError ? "The service is out of reach; trying again." : error.message);
  }
}

async function listModels() {
  const { data } = await call("v1/models");
  const names = data.data.map((model) => model.id);
  $("model").replaceChildren(...names.map((name) => make("option", {}, name)));
  $("by-model").append(...names.map((name) => make("option", {}, name)));
}

async function queueIfAllowed() {
  try {
    const { models } = await queue.refresh();
    const waiting = models.reduce((sum, it) => sum + Object.values(it.queued).reduce((a, b) => a + b), 0);
    const running = models.reduce((sum, it) => sum + it.running, 0);
    const workers = models.reduce((sum, it) => sum + it.workers.length, 0);
    tell(`${waiting} waiting, ${running} running, ${workers} ${workers === 1 ? "worker" : "workers"}`);
  } catch (error) {
    if (error.status !== 403) throw error;
    tell("serving");
    $("queue").replaceChildren(make("p", { class: "faint" }, "Seen with a key that has the scope admin."));
  }
}

function tell(text) {
  $("service").textContent = text;
}

for (;;) {
  if (!document.hidden) await refresh();
  await pause(EVERY_MS);
}
