// The list of recent jobs, and one job opened: what it is, its timeline, whom it told.

import { $, clock, make, seconds } from "./dom.js";
import { timeline } from "./timeline.js";
import { call, events } from "./wire.js";

const PAGE = 12;
let shown = PAGE;

export function setUp() {
  for (const id of ["by-status", "by-model"]) $(id).addEventListener("change", () => ((shown = PAGE), refresh()));
  $("more").addEventListener("click", () => ((shown += PAGE), refresh()));
}

export async function refresh() {
  const asked = new URLSearchParams({ limit: Math.min(100, shown) });
  for (const [name, id] of [["status", "by-status"], ["model", "by-model"]]) {
    if ($(id).value) asked.set(name, $(id).value);
  }
  const { data } = await call(`v1/jobs?${asked}`);
  const focused = document.activeElement?.dataset?.job;
  $("jobs").replaceChildren(...data.data.map(row));
  if (focused) $("jobs").querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  $("more").hidden = !data.has_more || shown >= 100;
}

function row(job) {
  const open = make("button", { type: "button", "data-job": job.id, onclick: () => show(job.id) }, `${job.id.slice(0, 14)}…`);
  const cells = [
    open,
    make("span", { class: `badge ${job.status}` }, job.status),
    job.model,
    job.priority,
    job.cache ?? "",
    clock(job.created_at),
    seconds(job.started_at && job.started_at - job.created_at),
    seconds(job.ended_at && job.started_at && job.ended_at - job.started_at),
  ];
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
}

async function show(id) {
  $("job-title").textContent = id;
  $("job-body").replaceChildren(make("p", { class: "faint" }, "reading…"));
  $("job").showModal();
  const stop = new AbortController();
  $("job").addEventListener("close", () => stop.abort(), { once: true });
  try {
    const { data } = await call(`v1/jobs/${id}`);
    const heard = [];
    paint(data, heard);
    for await (const event of events(id, stop.signal)) {
      heard.push(event);
      paint(event.data.job ?? data, heard);
    }
  } catch (error) {
    if (!stop.signal.aborted) $("job-body").replaceChildren(make("p", { class: "failed" }, error.message));
  }
}

function paint(job, heard) {
  const facts = {
    status: job.status,
    model: `${job.model}, ${job.priority}`,
    waits: job.status === "queued" ? job.waiting_reason : null,
    cache: job.cache,
    answer: job.result?.text,
    error: job.error && `${job.error.message} (${job.error.code})`,
    tokens: job.result && JSON.stringify(job.result.usage),
    fingerprint: job.result?.fingerprint,
    metadata: Object.keys(job.metadata).length ? JSON.stringify(job.metadata) : null,
  };
  const list = Object.entries(facts).filter(([, value]) => value);
  $("job-body").replaceChildren(
    make("dl", {}, ...list.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    make("h3", {}, "Timeline"),
    timeline(job, heard),
    ...attempts(job),
    ...deliveries(job),
  );
}

function attempts(job) {
  if (!job.attempts.length) return [];
  const rows = job.attempts.map((a) => [a.number, a.worker, clock(a.started_at), seconds(a.ended_at && a.ended_at - a.started_at), a.outcome ?? "under way"]);
  return [make("h3", {}, "Attempts"), table(["", "worker", "began", "took", "outcome"], rows)];
}

function deliveries(job) {
  if (!job.webhook) return [];
  const rows = (job.webhook.deliveries ?? []).map((d) => [d.event, clock(d.at), d.status ?? d.error, `${d.ms} ms`]);
  return [make("h3", {}, `Webhook: ${job.webhook.url}`), table(["event", "at", "answer", "took"], rows)];
}

function table(names, rows) {
  const head = make("tr", {}, ...names.map((name) => make("th", {}, name)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, String(cell)))));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}
