// One job's life as a bar: waits, attempts (red where a worker was lost), each piece of text, the end.

import { draw, seconds } from "./dom.js";

const WIDTH = 700;
const BAR = { y: 18, height: 18 };

export function timeline(job, heard) {
  const from = job.created_at;
  const till = Math.max(job.ended_at ?? heard.at(-1)?.data.at ?? from, from + 0.001);
  const x = (at) => Math.max(0, Math.min(1, (at - from) / (till - from))) * WIDTH;
  const bar = (kind, begin, end, title) =>
    draw("rect", { class: kind, x: x(begin), width: Math.max(1, x(end) - x(begin)), ...BAR }, draw("title", {}, title));
  const parts = [draw("rect", { class: "track", x: 0, width: WIDTH, rx: 3, ...BAR })];
  let free = from;
  for (const attempt of job.attempts) {
    const end = attempt.ended_at ?? till;
    parts.push(bar("wait", free, attempt.started_at, `waited ${seconds(attempt.started_at - free)}`));
    const kind = ["succeeded", undefined, null].includes(attempt.outcome) ? "run" : "lost";
    parts.push(bar(kind, attempt.started_at, end, `attempt ${attempt.number}: ${attempt.outcome ?? "running"}`));
    free = end;
  }
  if (free < till) parts.push(bar("wait", free, till, `waited ${seconds(till - free)}`));
  let last = -1;
  for (const { type, data } of heard.filter((event) => event.type === "text")) {
    // One mark for each unit of width is enough: thousands of pieces would look the same.
    if (Math.round(x(data.at)) === last) continue;
    last = Math.round(x(data.at));
    parts.push(draw("line", { class: "mark", x1: x(data.at), x2: x(data.at), y1: 12, y2: 18 }, draw("title", {}, `${type}: ${data.text}`)));
  }
  parts.push(draw("text", { x: 0, y: 52 }, "0"), draw("text", { x: WIDTH, y: 52, "text-anchor": "end" }, seconds(till - from)));
  const label = `${job.status} after ${seconds(till - from)}, ${job.attempts.length} attempts`;
  return draw("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} 58`, role: "img", "aria-label": label }, ...parts);
}
