// One chart of the last minutes: each model is a line, on axes that can be read.

import { action } from "./actions.js";
import { button, make } from "./dom.js";
import { changed, state } from "./store.js";
import { clock, number, plural, seconds, short } from "./words.js";

// What is counted: its words, how a value is written, and the least that the axis shows.
const METRICS = {
  waiting: ["Waiting jobs", number, 2],
  tokens_per_s: ["Tokens per second", number, 2],
  wait_p95_s: ["Waiting time (p95)", seconds, 0.01],
};
const RANGES = [5, 15]; // minutes
const LINES = ["blue", "amber", "green", "pink", "teal", "olive"]; // as many as can be told apart
const TIMES = 5; // on the axis

export function chart({ from, step_s, models }) {
  const { metric, minutes } = state.chart;
  const [title, show, least] = METRICS[metric];
  const last = (all) => all[metric].slice((-60 * minutes) / step_s);
  const peak = ({ values }) => Math.max(0, ...values);
  const all = Object.entries(models).map(([model, series]) => ({ model, values: last(series) }));
  const shown = all.toSorted((one, other) => peak(other) - peak(one)).slice(0, LINES.length);
  // A line keeps its colour while others rise above it.
  const placed = all.filter((one) => shown.includes(one));
  const color = (one) => LINES[placed.indexOf(one)];
  // From the first value that is known.
  const known = shown.filter(({ values }) => is_known(values));
  const begun = ({ values }) => values.length - Math.max(0, values.findIndex((one) => one !== null));
  const count = Math.max(2, ...(known.length ? known : shown).map(begun));
  for (const one of shown) one.values = one.values.slice(-count);
  const till = from + step_s * ((Object.values(models)[0]?.[metric].length ?? 1) - 1);
  const begin = till - step_s * (count - 1);
  const top = ceiling(Math.max(least, ...shown.map(peak)), show === number);
  const sampled = Object.values(models).some(({ waiting }) => is_known(waiting));
  const now = ({ values }) => (values.at(-1) == null ? "–" : show(values.at(-1)));
  const label = shown.map((one) => `${short(one.model)} now ${now(one)}, at most ${show(peak(one))}`).join("; ");
  return make(
    "figure",
    { class: "card chart", "data-key": "chart" },
    make(
      "figcaption",
      {},
      choices(
        "metric",
        Object.entries(METRICS).map(([id, [words]]) => [id, words]),
        metric,
      ),
      choices(
        "minutes",
        RANGES.map((one) => [one, `${one} min`]),
        minutes,
      ),
    ),
    make(
      "div",
      { class: "scale-y", "aria-hidden": "true" },
      // All in one unit.
      [top, top / 2, 0].map((value) =>
        make("span", {}, show === seconds ? `${value.toLocaleString("en")} s` : show(value)),
      ),
    ),
    make(
      "div",
      {
        class: "plot",
        role: "img",
        "aria-label": `${title} in the last ${minutes} minutes: ${label}`,
        "data-from": begin,
        "data-step": step_s,
        "data-lines": JSON.stringify(
          shown.map(({ model, values }) => [short(model), values.map((one) => one && Number(one.toFixed(2)))]),
        ),
        "data-metric": metric,
      },
      make(
        "svg",
        { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
        [0, 50, 100].map((y) => make("path", { class: "grid", d: `M0 ${y}H100` })),
        shown.map((one) => lines(one.values, top, color(one))),
      ),
      !shown.some(({ values }) => is_known(values)) &&
        make("p", { class: "muted" }, sampled ? "No values in this time" : "The first values come in ten seconds"),
      make("span", { class: "hair" }),
      make("span", { class: "tip" }),
    ),
    make(
      "div",
      { class: "scale-x", "aria-hidden": "true" },
      Array.from({ length: TIMES }, (_, at) => make("span", {}, minute(begin + ((till - begin) * at) / (TIMES - 1)))),
    ),
    make(
      "ul",
      { class: "legend" },
      shown.map((one) =>
        make("li", { class: color(one) }, make("span", {}, short(one.model)), make("b", {}, now(one))),
      ),
      all.length > LINES.length &&
        make("li", { class: "muted" }, `and ${plural(all.length - LINES.length, "quieter model")}`),
    ),
  );
}

const is_known = (values) => values.some((one) => one !== null);

const choices = (name, all, chosen) =>
  make(
    "span",
    { class: "segments", role: "group", "aria-label": name === "metric" ? "What is shown" : "Time shown" },
    all.map(([id, words]) =>
      button("chart", { class: "", "data-name": name, "data-value": id, "aria-pressed": String(id === chosen) }, words),
    ),
  );

// The next round number above a value, whose half is round, too; of what is counted an even one.
function ceiling(value, counted) {
  const power = 10 ** Math.floor(Math.log10(value));
  const round = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((one) => Number((one * power).toPrecision(2)));
  return round.find((one) => one >= value && !(counted && one % 2));
}

const minute = (unix) => clock(unix).slice(0, -3);

// One line for each stretch without a gap.
function lines(values, top, color) {
  const x = (at) => ((100 * at) / Math.max(1, values.length - 1)).toFixed(2);
  const stretches = [];
  values.forEach((value, at) => {
    if (value === null) return;
    if (at === 0 || values[at - 1] === null) stretches.push([]);
    stretches.at(-1).push(`${x(at)} ${(100 - (100 * value) / top).toFixed(1)}`);
  });
  // A point alone is a line of no length, which has round ends.
  return stretches.map((points) =>
    make("path", { class: `${color}${points.length === 1 ? " point" : ""}`, d: `M${points.join("L")}h0` }),
  );
}

document.addEventListener(
  "pointermove",
  ({ target, clientX }) => {
    const plot = target.closest?.(".plot");
    for (const other of document.querySelectorAll(".plot.over")) if (other !== plot) other.classList.remove("over");
    if (plot) point_at(plot, clientX);
  },
  { passive: true },
);

function point_at(plot, clientX) {
  const { lines: text, from, step, metric } = plot.dataset;
  const all = JSON.parse(text);
  const last = Math.max(1, ...all.map(([, values]) => values.length - 1));
  const box = plot.getBoundingClientRect();
  const at = Math.max(0, Math.min(last, Math.round(((clientX - box.left) / box.width) * last)));
  for (const name of ["hair", "tip"]) plot.querySelector(`.${name}`).style.setProperty("--x", `${(100 * at) / last}%`);
  const values = all.map(([name, values]) => `${name} ${values[at] == null ? "–" : METRICS[metric][1](values[at])}`);
  plot.querySelector(".tip").textContent = [clock(Number(from) + at * step), ...values].join(" · ");
  plot.classList.add("over");
}

action("chart", ({ dataset: { name, value } }) => {
  state.chart[name] = name === "minutes" ? Number(value) : value;
  changed();
});
