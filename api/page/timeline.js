// One job's life as a bar and as steps: waits, attempts (red where a worker was lost), each piece of text, the end.

import { make } from "./dom.js";
import { now, outcome_word, plural, seconds, STATUSES } from "./words.js";

const WIDTH = 700;
const LEAST_S = 0.005; // Sooner, it came into the line at once.

// The attempts of a cached answer came before its job.
export const own_attempts = ({ attempts, created_at }) =>
  attempts.filter(({ ended_at }) => !ended_at || ended_at > created_at);

export function timeline(shown, history) {
  const job = { ...shown, attempts: own_attempts(shown) };
  const from = job.created_at;
  const till = Math.max(job.ended_at ?? now(), from + 0.001);
  const label = `${STATUSES[job.status][0]} after ${seconds(till - from)}, ${plural(job.attempts.length, "attempt")}`;
  return [
    make(
      "svg",
      { class: "timeline", viewBox: `0 0 ${WIDTH} 20`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      bars(job, history, from, till),
      marks(history, from, till),
    ),
    make(
      "ol",
      { class: "steps" },
      steps(job, history).map(([kind, at, words, more]) =>
        make(
          "li",
          { class: kind },
          make("time", {}, `+${seconds(at - from)}`),
          make("span", {}, words, more && make("small", {}, more)),
        ),
      ),
    ),
  ];
}

// When a job whose files were fetched first came into the line, as its receipt tells.
function line_begun_at({ receipt, cache, created_at }) {
  const at = receipt?.timings.queued_at;
  return cache !== "HIT" && cache !== "COALESCED" && at > created_at + LEAST_S ? at : null;
}

const x = (at, from, till) => Math.max(0, Math.min(1, (at - from) / (till - from))) * WIDTH;

function bars(job, history, from, till) {
  const bar = (kind, begin, end, title) => {
    const [left, right] = [x(begin, from, till), x(end, from, till)];
    return make(
      "rect",
      { class: kind, x: left, width: Math.max(2, right - left), y: 4, height: 12 },
      make("title", {}, title),
    );
  };
  const parts = [];
  let free = from;
  const lined_up = line_begun_at(job);
  if (lined_up) {
    parts.push(bar("fetch", from, lined_up, `was in line after ${seconds(lined_up - from)}`));
    free = lined_up;
  }
  for (const attempt of job.attempts) {
    const end = attempt.ended_at ?? till;
    parts.push(bar("wait", free, attempt.started_at, `waited ${seconds(attempt.started_at - free)}`));
    parts.push(
      bar(
        is_lost(attempt) ? "lost" : "run",
        attempt.started_at,
        end,
        `attempt ${attempt.number}: ${outcome_word(attempt.outcome)}`,
      ),
    );
    free = end;
  }
  if (free < till) parts.push(bar("wait", free, till, `waited ${seconds(till - free)}`));
  return parts;
}

const is_lost = ({ outcome }) => ![null, undefined, "succeeded", "cancelled"].includes(outcome);

// One mark for each unit of width is enough: thousands of pieces would look the same.
function marks(history, from, till) {
  const places = new Set(
    history.filter(({ type }) => type === "text").map(({ data }) => Math.round(x(data.at, from, till))),
  );
  return [...places].map((at) => make("line", { class: "mark", x1: at, x2: at, y1: 0, y2: 4 }));
}

function steps(job, history) {
  const first = history.find(({ type }) => type === "text")?.data.at ?? job.receipt?.timings.first_token_at;
  const all = [["", job.created_at, "Submitted"]];
  if (line_begun_at(job)) all.push(["", line_begun_at(job), "In line"]);
  for (const attempt of job.attempts) {
    all.push([
      "go",
      attempt.started_at,
      attempt.number > 1 ? `Attempt ${attempt.number} began` : "Began",
      attempt.worker,
    ]);
    if (is_lost(attempt) && attempt.ended_at)
      all.push([
        "bad",
        attempt.ended_at,
        `Attempt ${attempt.number}: ${outcome_word(attempt.outcome)}`,
        attempt.error?.message ?? attempt.error,
      ]);
  }
  if (first && first >= job.created_at) all.push(["go", first, "First text"]);
  if (job.cache === "HIT") all.push(["go", job.started_at, "Answered from the cache"]);
  if (job.ended_at)
    all.push([
      job.status === "succeeded" ? "done" : "bad",
      job.ended_at,
      STATUSES[job.status][0],
      job.result && plural(job.result.usage.completion_tokens, "token"),
    ]);
  if (job.webhook?.delivered_at) all.push(["done", job.webhook.delivered_at, "Webhook delivered"]);
  return all.sort((one, other) => one[1] - other[1]);
}
