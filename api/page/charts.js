// Sparklines of the last minutes: now, the highest, and each moment under the pointer.

import { make } from "./dom.js";
import { clock } from "./words.js";

// `values` has null where nothing is known; `since` is the moment of a fault.
export function sparkline(name, values, { from, step_s, show, least = 1, bad = false, since = null }) {
  const known = values.filter((value) => value !== null);
  const [now, most] = [known.at(-1) ?? null, Math.max(0, ...known)];
  const [shown, top] = [now === null ? "–" : show(now), show(most)];
  const till = from + step_s * (values.length - 1);
  const minutes = Math.round((step_s * values.length) / 60);
  return make(
    "figure",
    {
      class: `spark${bad ? " bad" : ""}`,
      "data-key": name,
      "data-values": JSON.stringify(values.map((value) => value && Number(value.toFixed(3)))),
      "data-from": from,
      "data-step": step_s,
      "data-unit": show(1).replace(/[\d.,]+/, ""),
    },
    make(
      "figcaption",
      {},
      make("b", {}, shown),
      make("span", {}, name),
      known.length > 0 && top !== shown && make("span", { class: "top" }, `most ${top}`),
    ),
    make(
      "div",
      {
        class: "plot",
        role: "img",
        "aria-label": `${name}: now ${shown}, at most ${top} in the last ${minutes} minutes`,
      },
      drawing(values, now, Math.max(most, least)),
      since &&
        make("span", {
          class: "since",
          "--x": `${Math.max(0, Math.min(100, (100 * (since - from)) / (till - from)))}%`,
        }),
      make("span", { class: "hair" }),
      make("span", { class: "tip" }),
    ),
    make("p", { class: "axis", "aria-hidden": "true" }, make("span", {}, minute(from)), make("span", {}, minute(till))),
  );
}

// The values up to the `highest`, and where the last one stands.
function drawing(values, now, highest) {
  const y = (value) => 58 - (54 * value) / highest;
  return [
    make("svg", { viewBox: "0 0 100 60", preserveAspectRatio: "none", "aria-hidden": "true" }, lines(values, y)),
    now !== null && make("span", { class: "now", "--y": `${(100 * y(now)) / 60}%` }),
  ];
}

const minute = (unix) => clock(unix).slice(0, -3);

// One line for each stretch without a gap.
function lines(values, y) {
  const x = (at) => ((100 * at) / Math.max(1, values.length - 1)).toFixed(2);
  const stretches = [];
  values.forEach((value, at) => {
    if (value === null) return;
    if (at === 0 || values[at - 1] === null) stretches.push([]);
    stretches.at(-1).push([x(at), y(value).toFixed(1)]);
  });
  return stretches.flatMap((points) => {
    // A point alone is a line of no length, which has round ends.
    const path = `M${points.map((point) => point.join(" ")).join("L")}h0`;
    return [
      make("path", { class: "area", d: `${path}L${points.at(-1)[0]} 60L${points[0][0]} 60Z` }),
      make("path", { class: points.length === 1 && "point", d: path }),
    ];
  });
}

// One listener for all charts, as they are painted anew.
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
  const { values, from, step, unit } = plot.parentNode.dataset;
  const all = JSON.parse(values);
  const box = plot.getBoundingClientRect();
  const at = Math.max(0, Math.min(all.length - 1, Math.round(((clientX - box.left) / box.width) * (all.length - 1))));
  for (const name of ["hair", "tip"])
    plot.querySelector(`.${name}`).style.setProperty("--x", `${(100 * at) / (all.length - 1)}%`);
  plot.querySelector(".tip").textContent =
    `${clock(Number(from) + at * step)} · ${all[at] === null ? "unknown" : `${Number(all[at].toPrecision(3)).toLocaleString("en")}${unit}`}`;
  plot.classList.add("over");
}
