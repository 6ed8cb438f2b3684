// A document of which each page is asked by itself: how it is submitted, its progress and the pages as they end.

import { make } from "./dom.js";
import { uploaded } from "./media.js";
import { prose } from "./prose.js";
import { about, number, plural } from "./words.js";

const MOST = 100; // of the pages, the last ones that ended

export async function page_job({ attachments, model, parameters, question, pages }) {
  const file = await uploaded(attachments[0]);
  return {
    model,
    ...(Object.keys(parameters).length && { parameters }),
    input: { prompt: question },
    document: { file, per: "page", ...(pages && { pages }) },
  };
}

export const page_texts = ({ rows }) =>
  rows
    .map(({ page, text }) => text && `Page ${page}\n\n${text}`)
    .filter(Boolean)
    .join("\n\n");

// The progress stands below the pages, where the last one is seen.
export function page_answers({ rows, job, status, error }) {
  const { total, succeeded, failed } = job.pages;
  const done = status === "running" ? Math.max(succeeded + failed, rows.length) : rows.length;
  const wrong = rows.filter((row) => row.error).length;
  const left = status === "running" && job.ends_in_s;
  return make(
    "div",
    { class: "pages" },
    rows.length > MOST && make("p", { class: "muted" }, `The last ${MOST} of them; Copy has all.`),
    rows.slice(-MOST).map(page),
    error && make("p", { class: "failure", dir: "auto" }, error),
    make(
      "div",
      { class: "place" },
      make("b", {}, total ? `${number(done)} of ${plural(total, "page")}` : plural(done, "page")),
      wrong > 0 && make("span", { class: "state bad" }, `${number(wrong)} failed`),
      left && make("span", {}, `about ${about(left)} to go`),
    ),
    make(
      "div",
      {
        class: "full",
        "--w": `${(100 * done) / (total || 1)}%`,
        role: "progressbar",
        "aria-label": "Pages",
        "aria-valuemin": 0,
        "aria-valuemax": total,
        "aria-valuenow": done,
      },
      make("i"),
    ),
  );
}

function page({ page: count, text, error }) {
  return make(
    "section",
    { class: "page", "data-key": `page-${count}` },
    make("h3", {}, `Page ${number(count)}`),
    error ? make("p", { class: "failure", dir: "auto" }, error.message) : prose(text),
  );
}
