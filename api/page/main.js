// Puts the page together and keeps it fresh while somebody looks at it.

import * as composer from "./composer.js";
import * as conversation from "./conversation.js";
import * as drawer from "./drawer.js";
import * as fleet from "./fleet.js";
import * as jobs from "./jobs.js";
import * as keys from "./keys.js";
import * as operations from "./operations.js";
import * as page_jobs from "./page_jobs.js";
import * as shell from "./shell.js";
import { changed, paint_all, state } from "./store.js";
import { Away, changes, pause } from "./wire.js";

const EVERY_MS = 2000;
const IDLE_MS = 8000;
const LIVE_MS = 20_000;
const LIVE_AGAIN_MS = 5000;
const REFUSED_AGAIN_MS = 60_000;

const VIEWS = {
  ask: [],
  jobs: [jobs.list, page_jobs.list],
  operations: operations.resources,
  keys: [keys.list],
  key: [],
};
const resources = [composer.models, fleet.fleet, fleet.readiness, jobs.open_jobs, ...Object.values(VIEWS).flat()];

composer.set_up();
conversation.set_up();
jobs.set_up();
drawer.set_up();
operations.set_up();
keys.set_up();
shell.set_up(forget);
window.addEventListener("view", () => refresh());
for (const name of ["online", "offline"]) window.addEventListener(name, changed);
document.addEventListener("visibilitychange", () => document.hidden || look_again());
setInterval(() => !document.hidden && changed(), 1000); // Times that pass are shown, too.

// With another key, nothing that the old one showed stays on the screen.
function forget() {
  state.locked = null;
  jobs.empty_filter();
  resources.forEach((resource) => resource.forget());
  state.keys.secret = null;
  state.thumbnails.clear();
  drawer.close();
  conversation.forget();
  paint_all();
  live.abort();
  refresh();
}

function look_again() {
  composer.models.due = 0;
  return refresh();
}

function looked() {
  if (state.locked) return [composer.models];
  const about_models = fleet.fleet.refused ? fleet.readiness : fleet.fleet;
  return [composer.models, about_models, jobs.open_jobs, ...VIEWS[state.view]];
}

async function refresh() {
  const shown = looked();
  // That the key is wrong is known as long as it is refused.
  if (state.locked) composer.models.due = 0;
  const news = await Promise.all(shown.map((resource) => resource.refresh()));
  judge(shown.map(({ name }) => state.errors[name]).filter(Boolean));
  if (fleet.fleet.refused && !shown.includes(fleet.readiness))
    return (await fleet.readiness.refresh()) || news.some(Boolean);
  return news.some(Boolean);
}

// The header's states: a wrong key, a service that is away, one that cannot work.
function judge(errors) {
  const refusal = errors.find(({ status }) => status === 401)?.message;
  // A service that is away, or busy, has not said that the key is right.
  if (refusal || !errors.some(({ passing }) => passing)) state.locked = refusal ?? null;
  const away = errors.some((error) => error instanceof Away);
  state.away_since = away ? (state.away_since ?? Date.now() / 1000) : null;
  state.broken = errors.find(({ status }) => status >= 500)?.message ?? null;
  changed();
}

// Where the service tells of changes, the page asks when there are some; otherwise it asks now and then. A browser
// has six connections to a host for all its tabs, so while a job's events come the page asks.
async function follow() {
  window.addEventListener("following", () => state.following && live.abort());
  for (;;) {
    while (state.following) await new Promise((go_on) => window.addEventListener("following", go_on, { once: true }));
    const { signal } = (live = new AbortController());
    let again_ms = LIVE_AGAIN_MS;
    try {
      for await (const { type } of changes(signal, () => ((state.live = true), wake()))) {
        if (type === "jobs") jobs.open_jobs.stale = true;
        if (type !== "error") wake();
      }
    } catch (error) {
      if (error.status === 404) return;
      if (error.status) again_ms = REFUSED_AGAIN_MS;
    }
    state.live = false;
    wake();
    if (!signal.aborted) await pause(again_ms, signal).catch(() => {});
  }
}

// Speeds, webhook calls and the ends of batches change what is looked at without an event.
const without_events = () => state.view === "operations" || (state.view === "jobs" && page_jobs.some_open());

// Ends the pause between two rounds: on a slow line a round that is under way goes on.
const wake = () => nap.abort();
let nap = new AbortController();
let live = new AbortController();

follow();
for (let wait_ms = EVERY_MS; ;) {
  nap = new AbortController();
  // Poll less often while nothing changes.
  if (!document.hidden) wait_ms = (await refresh()) || state.away_since ? EVERY_MS : Math.min(IDLE_MS, 2 * wait_ms);
  const retry_ms = Math.max(0, ...looked().map(({ name }) => state.errors[name]?.after_ms ?? 0));
  if (retry_ms) await pause(retry_ms);
  // Another view may be looked at meanwhile.
  const most_ms = () => (state.live && !without_events() && !jobs.open_jobs.stale ? LIVE_MS : wait_ms);
  for (let ms = retry_ms; ms < most_ms() && !nap.signal.aborted; ms += EVERY_MS)
    await pause(EVERY_MS, nap.signal).catch(() => {});
}
