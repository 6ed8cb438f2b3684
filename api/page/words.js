// The page's words: states, times, amounts.

export const PRIORITIES = { interactive: "Interactive", normal: "Normal", batch: "Batch" };
export const STATUSES = {
  queued: ["Waiting", "wait"],
  running: ["Answering", "active"],
  succeeded: ["Done", "good"],
  failed: ["Failed", "bad"],
  cancelled: ["Cancelled", "idle"],
};
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
// A word of the service that has none of ours.
export const plain = (code) => capital(code.replaceAll("_", " "));
export const outcome_word = (outcome) => STATUSES[outcome ?? "running"]?.[0] ?? plain(outcome);
export const STANDINGS = {
  ready: ["Ready", "good"],
  loading: ["Loading", "active"],
  cold: ["Cold", "idle"],
  paused: ["Paused", "warn"],
  draining: ["Draining", "warn"],
  drained: ["Drained", "warn"],
  failed: ["Failed", "bad"],
  no_worker: ["No worker", "bad"],
};
export const REASONS = {
  fetching_inputs: "Fetching pictures",
  model_loading: "The model is loading",
  cold: "The model is not loaded",
  no_worker: "No worker",
  paused: "The model is paused",
  retrying: "Trying again",
};
export const CACHE = {
  HIT: "Known already",
  MISS: "Computed for this question",
  COALESCED: "Shared with the same question",
  BYPASS: "Cache skipped",
};
export const REFUSALS = {
  caller_queue_full: "A caller had too much waiting",
  model_draining: "A model was being drained",
  model_loading: "A model was still loading",
  model_paused: "A model was paused",
  no_worker: "A model had no worker",
  queue_full: "A model's line was full",
  rate_limited: "A key's requests for that minute were used up",
  stopping: "An API was stopping",
  store_unavailable: "The record store took nothing",
};

export const now = () => Date.now() / 1000;
export const short = (model) => model.split("/").pop();
// Made once: to make one takes longer than all else of a row.
const NUMBER = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat();
export const number = (value) => NUMBER.format(Math.round(value));
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const is_open = ({ status }) => status === "queued" || status === "running";

function ordinal(place) {
  const teen = place % 100 > 10 && place % 100 < 14;
  return place + ((!teen && ["th", "st", "nd", "rd"][place % 10]) || "th");
}

export const place = (job) => (job.ahead ? `${ordinal(job.ahead + 1)} in line` : "Next in line");

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value < 0.0995) return `${Math.round(Math.max(0, value) * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return minutes(Math.round(value));
  return value < 172_800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86_400)} days`;
}

// Of what is only estimated, no tenths.
export const about = (value) => (value < 9.95 ? `${Math.max(1, Math.round(value))} s` : seconds(value));

const minutes = (value) => `${Math.floor(value / 60)} min${value < 600 && value % 60 ? ` ${value % 60} s` : ""}`;

// When a job begins: half of the time, and nine times in ten.
export function range({ p50, p90 }) {
  if (p90 < 1) return "starts at once";
  const [unit, size] = p90 < 90 ? ["s", 1] : ["min", 60];
  const [low, high] = [p50, p90].map((value) => Math.max(1, Math.round(value / size)));
  return low === high ? `starts in about ${low} ${unit}` : `starts in ${low}–${high} ${unit}`;
}

export function clock(unix) {
  const at = new Date(unix * 1000);
  const time = TIME.format(at);
  return at.toDateString() === new Date().toDateString() ? time : `${DAY.format(at)} ${time}`;
}

// Whether a model is in a device's memory, as `residency` tells.
export function residency({ state, since, estimated_time, reason }) {
  const at = since ? clock(since) : "";
  if (state === "resident") return at && `Loaded since ${at}`;
  if (state === "loading") return `Loading${at && ` since ${at}`}, about ${about(estimated_time)} more`;
  if (state !== "cold") return "";
  return `A question loads it, in about ${about(estimated_time)}${reason ? `. Unloaded ${at}: ${reason}` : ""}`;
}

export const ago = (unix) => `${seconds(Math.max(0, now() - unix))} ago`;

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  const step = Math.min(3, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${(count / 1024 ** step).toFixed(step > 1 ? 1 : 0)} ${units[step]}`;
}
