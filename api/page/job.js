// An opened job: its facts, its timeline and its webhook's deliveries.

import { $, clock, make, say, seconds, settle } from "./dom.js";
import { timeline } from "./timeline.js";
import { call, events, pause, shown, spacing_ms } from "./wire.js";

const EVERY_MS = 2000;
const SELDOM_MS = 60_000;
let seen = null; // {id, stop} while one is open
let rereading = 0;

export function setUp(changed) {
  $("job").addEventListener("close", () => $("job").open || seen.stop.abort());
  $("job-cancel").addEventListener("click", () => cancel(seen).then(changed));
}

export async function open(id) {
  seen?.stop.abort();
  const mine = (seen = { id, stop: new AbortController() });
  $("job-title").textContent = id;
  $("job-cancel").hidden = true;
  line("");
  $("job-body").replaceChildren(make("p", { class: "faint" }, "reading…"));
  $("job").showModal();
  try {
    await follow(mine);
  } catch (error) {
    if (!mine.stop.signal.aborted) $("job-body").replaceChildren(make("p", { class: "failed" }, error.message));
  }
}

async function follow({ id, stop: { signal } }) {
  let { data: job } = await call(`v1/jobs/${id}`, { signal });
  const heard = [];
  let due = 0;
  // Pieces come by the thousand, so they are painted together, once a frame.
  const soon = () => (due ||= requestAnimationFrame(() => ((due = 0), signal.aborted || paint(job, heard))));
  soon();
  for await (const event of events(id, signal, line)) {
    heard.push(event);
    job = event.data.job ?? job;
    soon();
  }
  for await (job of rereads(job, signal)) soon();
}

// How many calls an open job adds to each round of the page's own.
export const calls = () => rereading;

// A job's webhook hears of the end behind all events; the tries of one that does not answer go on for days.
async function* rereads(job, signal) {
  rereading++;
  try {
    for (let wait_ms = EVERY_MS; outstanding(job); wait_ms = Math.min(SELDOM_MS, 2 * wait_ms)) {
      if (document.hidden) await shown(signal);
      const { data = job, after_ms = 0 } = await reread(job.id, signal);
      yield (job = data);
      await pause(Math.max(wait_ms, after_ms, spacing_ms(3)), signal);
    }
  } finally {
    rereading--;
  }
}

// The job as it is now; while the service is away, the least time to wait.
async function reread(id, signal) {
  try {
    const answer = await call(`v1/jobs/${id}`, { signal });
    line("");
    return answer;
  } catch (error) {
    if (!error.passing) throw error;
    line(error.message);
    return error;
  }
}

const outstanding = ({ webhook, status }) => webhook && !webhook.delivered_at && webhook.events.includes(`job.${status}`);
const line = (text) => say("job-line", text);

async function cancel({ id, stop: { signal } }) {
  try {
    await call(`v1/jobs/${id}/cancel`, { method: "POST" });
  } catch (error) {
    if (!signal.aborted) line(`Not cancelled: ${error.message}`);
  }
}

function paint(job, heard) {
  $("job-cancel").hidden = !["queued", "running"].includes(job.status);
  const facts = {
    status: job.status,
    model: `${job.model}, ${job.priority}`,
    waits: job.status === "queued" ? job.waiting_reason : null,
    cache: job.cache,
    ...answers(job.result?.choices ?? []),
    error: job.error && `${job.error.message} (${job.error.code})`,
    tokens: job.result && JSON.stringify(job.result.usage),
    fingerprint: job.result?.fingerprint,
    metadata: Object.keys(job.metadata).length ? JSON.stringify(job.metadata) : null,
  };
  const list = Object.entries(facts).filter(([, value]) => value);
  settle($("job-body"), [
    make("dl", {}, ...list.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)])),
    make("h3", {}, "Timeline"),
    timeline(job, heard),
    ...attempts(job),
    ...deliveries(job),
  ]);
}

function answers(choices) {
  return Object.fromEntries(choices.map(({ text }, at) => [choices.length > 1 ? `answer ${at + 1}` : "answer", text]));
}

function attempts(job) {
  if (!job.attempts.length) return [];
  const rows = job.attempts.map((a) => [a.number, a.worker, clock(a.started_at), seconds(a.ended_at && a.ended_at - a.started_at), a.outcome ?? "running"]);
  return [make("h3", {}, "Attempts"), table(["", "worker", "began", "took", "outcome"], rows)];
}

function deliveries(job) {
  if (!job.webhook) return [];
  const rows = (job.webhook.deliveries ?? []).map((d) => [d.event, clock(d.at), d.status ?? d.error, `${d.ms} ms`]);
  return [make("h3", {}, `Webhook: ${job.webhook.url}`), table(["event", "at", "answer", "took"], rows)];
}

function table(names, rows) {
  const head = make("tr", {}, ...names.map((name) => make("th", {}, name)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", { dir: "auto" }, String(cell)))));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}
