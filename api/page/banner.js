// What is wrong, since when, what is at stake and what to do: on every view.

import { button, icon, make } from "./dom.js";
import { no_courier, waiting, wrong } from "./fleet.js";
import { state } from "./store.js";
import { ago, capital, clock, number, plural, seconds, short } from "./words.js";

export function banner() {
  if (!navigator.onLine)
    return trouble(
      "This device is offline",
      [
        `${since(state.away_since)}What you asked goes on at the service; the page takes it up again with the connection.`,
      ],
      ["Look at the network of this device."],
    );
  if (state.away_since)
    return trouble(
      "The service is unreachable. Trying again.",
      [`${since(state.away_since)}Accepted jobs are kept, and go on when it is back.`],
      [
        ["On its machine, see whether it runs: ", code("sightline doctor")],
        ["Start it: ", code("sightline run"), " or ", code("make run")],
      ],
    );
  if (state.broken)
    return trouble("The service cannot work now", [state.broken], [["See what is wrong: ", code("sightline doctor")]]);
  const faults = wrong();
  if (state.view === "operations") return [faults.map(fault), no_courier() && courierless(state.couriers)];
  if (faults.length) return brief(...in_brief(faults));
  return no_courier() && brief("No courier runs. ", "Nothing is fetched, and no webhook is called; nothing is lost.");
}

const code = (text) => make("code", {}, text);
const since = (at) => (at ? `Since ${clock(at)}, ${ago(at)}. ` : "");

function trouble(title, lines, steps, acts = []) {
  return make(
    "div",
    { class: "banner", role: "alert", "data-key": title },
    icon("alert"),
    make(
      "div",
      {},
      make("h2", {}, title),
      lines.map((line) => make("p", {}, line)),
      make(
        "ol",
        {},
        steps.map((step) => make("li", {}, make("span", {}, step))),
      ),
    ),
    make("div", { class: "acts" }, acts),
  );
}

const brief = (what, stake) =>
  make(
    "div",
    { class: "banner brief", role: "alert", "data-key": "brief" },
    icon("alert"),
    make("p", {}, make("b", {}, what), stake),
    make("div", { class: "acts" }, make("a", { class: "quiet small", href: "#operations" }, "Details")),
  );

function in_brief([first, ...others]) {
  const what = first.state === "failed" ? "cannot be loaded" : "has no worker";
  const more = others.length ? `, nor ${plural(others.length, "other model")}` : "";
  return [
    `${short(first.model)} ${what}${more}. `,
    `${plural(waiting(first), "job")} ${wait(waiting(first))}; nothing is lost.`,
  ];
}

function courierless({ last_worker, queued, webhook_calls: { due } }) {
  const { host, seen_at: at } = last_worker ?? {};
  const stake = [
    queued > 0 && `${plural(queued, "job")} ${wait(queued)} for pictures or files`,
    due > 0 && `${plural(due, "webhook call")} ${wait(due)}`,
    "nothing is lost",
  ];
  return trouble(
    "No courier runs",
    [
      "Couriers fetch pictures by address, call webhooks, and give the work of lost workers to others.",
      `${since(at)}${host ? `The courier on ${host} was seen last then. ` : ""}${sentence(stake)}`,
    ],
    [
      ["On its machine, see what went wrong: ", code("sightline doctor")],
      ["Start one: ", code("sightline courier"), ". It takes up what waits."],
    ],
    [button("copy", { "data-text": "sightline courier" }, icon("copy"), "Copy the command")],
  );
}

const sentence = (parts) => `${capital(parts.filter(Boolean).join("; "))}.`;

function fault(row) {
  return row.state === "failed" ? unloadable(row) : abandoned(row);
}

function unloadable(row) {
  const steps = [
    "Read the reason above and mend the model's entry or its files.",
    ["Check it: ", code("sightline doctor")],
  ];
  return trouble(`${short(row.model)} cannot be loaded`, [row.reason, stake(row)].filter(Boolean), steps, acts(row));
}

function abandoned(row) {
  const { host, seen_at: at } = row.last_worker ?? {};
  const who = host ? `The worker on ${host} was seen last then. ` : "";
  const back = row.given_back ? `${plural(row.given_back, "run")} went back to the front of the line. ` : "";
  const steps = [
    [
      host ? ["On ", make("b", {}, host), ", see what went wrong: "] : "On the worker's machine, see what went wrong: ",
      code("sightline doctor"),
    ],
    ["Start it again: ", code("sightline worker"), ". It takes the line up where it stopped."],
    "If that takes long, drain the model: new questions are then refused instead of waiting.",
  ];
  return trouble(`${short(row.model)} has no worker`, [`${since(at)}${who}${back}${stake(row)}`], steps, acts(row));
}

const wait = (count) => (count === 1 ? "waits" : "wait");
const stake = (row) =>
  waiting(row)
    ? `${number(waiting(row))} of its jobs ${wait(waiting(row))}, the oldest for ${seconds(row.oldest_queued_s)}; nothing is lost.`
    : "No job waits for it.";

const acts = (row) => [
  button(
    "copy",
    { "data-text": `SIGHTLINE_WORKER__MODEL=${row.model} sightline worker` },
    icon("copy"),
    "Copy the command",
  ),
  !row.draining && button("drain", { "data-model": row.model }, icon("drain"), "Drain"),
];
