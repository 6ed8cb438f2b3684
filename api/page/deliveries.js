// A job's webhook, and the calls of it.

import { button, icon, make } from "./dom.js";
import { clock, number } from "./words.js";

const ABOUT = {
  "job.running": "That it began",
  "job.succeeded": "That it is done",
  "job.failed": "That it failed",
  "job.cancelled": "That it was cancelled",
};

export function webhook({ webhook: hook }) {
  if (!hook)
    return [
      make("p", {}, "This job reports to nobody when it ends."),
      make(
        "p",
        { class: "muted" },
        "Name a URL in ",
        make("code", {}, "webhook"),
        " when you submit one, and each call is listed here, with its answer and a way to send it again.",
      ),
    ];
  const calls = hook.deliveries ?? [];
  return [
    make("p", {}, make("code", {}, hook.url)),
    calls.length ? deliveries(calls) : make("p", { class: "muted" }, "No call yet."),
    hook.next_try_at && make("p", { class: "muted" }, `The next try: ${clock(hook.next_try_at)}.`),
    make("p", {}, button("redeliver", { class: "quiet" }, icon("again"), "Send again")),
  ];
}

// The calls by what they were to deliver, the oldest first: whatever is sent again is delivered anew.
function deliveries(calls) {
  const found = [];
  for (const call of calls) {
    const same = found.filter(([{ event }]) => event === call.event);
    if (call.attempt > 1 && same.length) same.at(-1).push(call);
    else found.push(Object.assign([call], { again: same.length > 0 }));
  }
  return found.map((tries) =>
    make(
      "section",
      {},
      make(
        "h3",
        { title: tries[0].event },
        `${ABOUT[tries[0].event] ?? tries[0].event}${tries.again ? ", sent again" : ""}`,
      ),
      make(
        "ul",
        { class: "rows-list" },
        tries.map(delivery),
      ),
    ),
  );
}

// The status in words, and the receiver's number.
function delivery({ event, attempt, at, ms, status, error }) {
  const outcome = [error ? (status ? "Refused" : "No answer") : "Delivered", status].filter(Boolean).join(" · ");
  const facts = [attempt > 1 && `try ${attempt}`, error];
  return make(
    "li",
    {},
    make("span", { class: `state ${error ? "bad" : "good"}` }, outcome),
    make("span", {}, event, make("small", {}, facts.filter(Boolean).join(" · "))),
    make("span", {}, `${clock(at)} · ${number(ms)} ms`),
  );
}
