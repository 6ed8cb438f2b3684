// The line: who waits, in order, at the left of a gate; the rows that answer at its right.

import { make } from "./dom.js";
import { number, plural } from "./words.js";

const MOST = 30;
const AHEAD = 16;
const BEHIND = 8;

// A model's line by priority, the next one nearest to the gate. `kind` is shut (paused) or broken (no worker).
export function queue({ queued }, kind, crew) {
  const total = queued.interactive + queued.normal + queued.batch;
  const shown = { ...queued };
  // What is left out comes from the end of the line, but no priority goes unseen.
  for (const name of ["batch", "normal", "interactive"]) {
    const over = Math.max(0, shown.batch + shown.normal + shown.interactive - MOST);
    shown[name] = Math.max(Math.min(shown[name], 4), shown[name] - over);
  }
  const ticks = ["batch", "normal", "interactive"].flatMap((name) => Array(shown[name]).fill(name));
  const more = total - ticks.length;
  return draw(ticks, kind, crew, [
    !total && make("span", { class: "none" }, "Nobody waits"),
    more > 0 && make("span", { class: "none" }, `+${number(more)}`),
  ]);
}

// The own place in a line of `total`, where that is known.
export function own_place(ahead, total, crew) {
  const behind = Math.max(0, total - ahead - 1);
  const more = ahead - AHEAD;
  const ticks = [
    ...Array(Math.min(BEHIND, behind)).fill("other"),
    "me",
    ...(more > 0 ? ["gap"] : []),
    ...Array(Math.min(AHEAD, ahead)).fill("normal"),
  ];
  return draw(ticks, "own", crew, behind > 0 && make("span", { class: "none" }, `${number(behind)} behind you`));
}

function draw(ticks, kind, crew, words) {
  return make(
    "div",
    { class: `line ${kind}${ticks.length > 17 ? " dense" : ""}` },
    make(
      "div",
      { class: "queue", "aria-hidden": "true" },
      words,
      ticks.map((tick) => make("i", { class: tick })),
    ),
    crew,
  );
}

export function rows({ busy, rows: all }) {
  const shown = Math.min(all, 32);
  const used = Math.round((Math.min(busy, all) * shown) / all);
  const label = `${plural(Math.min(busy, all), "answer")} at once, of ${number(all)} that fit`;
  return make(
    "span",
    { class: "rows", role: "img", "aria-label": label, title: label },
    Array.from({ length: shown }, (_, at) => make("i", { class: at < used && "on" })),
  );
}
