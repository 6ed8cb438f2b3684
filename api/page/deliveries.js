// Webhook calls: those of one job, and one call as a row of any list.

import { button, icon, make } from "./dom.js";
import { clock, number } from "./words.js";

export function webhook({ webhook: hook, pages }) {
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
  const sent = hook.deliveries ?? [];
  return [
    make("p", {}, make("code", {}, hook.url)),
    sent.length > 0
      ? make(
          "ul",
          { class: "rows-list" },
          sent.map((it, at) => delivery(it, tries(sent.slice(0, at + 1).reverse(), "event"))),
        )
      : make("p", { class: "muted" }, "No call yet."),
    hook.next_try_at && make("p", { class: "muted" }, `The next try: ${clock(hook.next_try_at)}.`),
    !pages && make("p", {}, button("replay", { class: "quiet" }, icon("again"), "Send again")),
  ];
}

// Which call for its event the first of these is.
export const tries = (sent, by) => sent.filter((other) => other[by] === sent[0][by]).length;

export function delivery({ event, at, ms, status, error }, count) {
  return make(
    "li",
    {},
    make("span", { class: `state ${error ? "bad" : "good"}` }, status ?? "No answer"),
    make("span", {}, event, make("small", {}, [count && `try ${count}`, error].filter(Boolean).join(" · "))),
    make("span", {}, `${clock(at)} · ${number(ms)} ms`),
  );
}
