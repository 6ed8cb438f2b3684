// An answer as a reader expects it: paragraphs, lists, code. What models write most; everything else stays text.

import { make } from "./dom.js";
import { number } from "./words.js";

// An answer while it comes. Offsets count code points; one beyond U+FFFF is two units to JavaScript.
export class StreamedText {
  text = "";
  length = 0;

  write(start, piece) {
    if (start < this.length) this.text = [...this.text].slice(0, start).join("");
    this.text += piece;
    this.length = start + [...piece].length;
  }
}

const LONG = 1000;

// A question of thousands of characters does not push its answer out of sight.
export function question_text(text, tag, attributes) {
  if (text.length <= 2 * LONG) return make(tag, { dir: "auto", ...attributes }, text);
  return [
    make(tag, { dir: "auto", ...attributes }, `${text.slice(0, LONG)}…`),
    make(
      "details",
      {},
      make("summary", {}, `All ${number(text.length)} characters`),
      make("p", { class: "whole", dir: "auto" }, text),
    ),
  ];
}

const INLINE = /(\*\*[^*\n]+\*\*|`[^`\n]+`)/;
const ITEM = /^\s*(?:[-*•]|\d+[.)])\s+/;

// `cursor`: more is to come.
export function prose(text, cursor = false) {
  const blocks = is_json(text)
    ? [make("pre", {}, JSON.stringify(JSON.parse(text), null, 2))]
    : text.split(/(```[^]*?(?:```|$))/).flatMap(section);
  if (cursor)
    (last_line(blocks.at(-1)) ?? blocks[blocks.push(make("p")) - 1]).append(
      make("span", { class: "cursor", "aria-hidden": "true" }),
    );
  return make("div", { class: "prose", dir: "auto", "aria-busy": cursor && "true" }, blocks);
}

function is_json(text) {
  if (!/^\s*[{[]/.test(text)) return false;
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

const last_line = (block) => (/OL|UL/.test(block?.nodeName) ? block.lastChild : block);

function section(part, at) {
  // What the pattern of split() caught stands at the odd places.
  if (at % 2) return make("pre", { dir: "ltr" }, part.replace(/^```[^\n]*\n?/, "").replace(/\n?```$/, ""));
  return part
    .split(/\n{2,}/)
    .filter((block) => block.trim())
    .flatMap(paragraph);
}

// A list may follow its heading without an empty line between them.
function paragraph(block) {
  const lines = block.split("\n");
  const first = lines.findIndex((line) => ITEM.test(line));
  if (first < 0) return [heading(block) ?? make("p", { dir: "auto" }, inline(block))];
  const before = lines.slice(0, first).join("\n");
  return [before && make("p", { dir: "auto" }, inline(before)), items(lines.slice(first))].filter(Boolean);
}

function heading(block) {
  const [, title] = /^#{1,6} (.+)$/.exec(block) ?? [];
  return title && make("p", { dir: "auto" }, make("strong", {}, title));
}

function items(lines) {
  const numbered = /^\s*\d/.test(lines[0]);
  const texts = [];
  for (const line of lines) {
    if (ITEM.test(line) || !texts.length) texts.push(line.replace(ITEM, ""));
    else texts[texts.length - 1] += `\n${line}`;
  }
  const start = numbered && Number.parseInt(lines[0], 10);
  return make(
    numbered ? "ol" : "ul",
    { start: start > 1 && start },
    texts.map((text) => make("li", { dir: "auto" }, inline(text))),
  );
}

export function inline(text) {
  return text.split(INLINE).map((part, at) => {
    if (at % 2 === 0) return part;
    return part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : make("strong", {}, part.slice(2, -2));
  });
}
