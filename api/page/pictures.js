// What is attached to a question: pictures, documents, videos, from disk, clipboard, a drop, a camera, an address or a sample.

import { action } from "./actions.js";
import { $, button, by_finger, icon, make, say, settle } from "./dom.js";
import { discard, has_document, is_large, kind_of_file, kind_of_url, model_of, preview } from "./media.js";
import { changed, state } from "./store.js";
import { bytes, plural } from "./words.js";
import { data_uri } from "./wire.js";

const SAMPLE_MS = 10_000;
const MANY = 5; // Fewer are removed one by one.
export const SAMPLES = [
  ["shapes.png", "Two shapes", "What shapes are in this picture?"],
  ["dots.png", "Three triangles", "How many triangles are there?"],
  ["word.png", "A short word", "What does it say?"],
  ["sign.png", "One figure", "What color is the triangle?"],
];

export function set_up() {
  for (const id of ["file", "photo"])
    $(id).addEventListener("change", () => {
      take($(id).files);
      // Otherwise choosing the same file again would fire no change event.
      $(id).value = "";
    });
  $("url").addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), add_url()));
  document.addEventListener("paste", (event) => take([...event.clipboardData.files].filter(kind_of_file)));
  // Otherwise the browser would open a dropped file in place of this page.
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, dragged);
}

function dragged(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  const inside = event.type === "dragleave" && event.relatedTarget !== null;
  $("drop").hidden = event.type !== "dragover" && !inside;
  if (event.type === "drop") take(event.dataTransfer.files);
}

function take(files) {
  for (const file of files) attach(file.name, read(file), { size: file.size, kind: kind_of_file(file) ?? "picture" });
  if (!files.length) return;
  state.ask.menu = null;
  if (state.view !== "ask") location.hash = "ask";
  $("question").focus();
}

async function read(file) {
  const kind = kind_of_file(file);
  if (!kind) throw new Error(`${file.name} is no picture, document (PDF, TIFF) or video.`);
  if (!file.size) throw new Error(`${file.name} is empty.`);
  return kind === "picture" ? data_uri(file) : file;
}

// `ready` is a promise of a picture's data URI, or of another file: a question that is asked before it is there waits.
export function attach(name, ready, more) {
  state.ask.attachments.push(attachment_of(name, ready, more));
  edited();
}

export function attachment_of(name, ready, more = {}) {
  const key = `picture-${++state.ask.serial}`;
  const borrowed = Boolean(more.file_id); // by another question, too
  const attachment = { key, name, kind: "picture", ready, uri: null, error: null, borrowed, ...more };
  ready.then(
    (uri) => {
      if (attachment.kind === "picture") show(attachment, uri);
      else if (attachment.kind === "document" && (uri || borrowed) && !attachment.url) show_first_page(attachment);
      arrived();
    },
    (error) => ((attachment.error = error.message), changed()),
  );
  return attachment;
}

// What is wrong with a document is known before it is asked about. Where it cannot be seen, its name stands.
async function show_first_page(document) {
  if (is_large(document, model_of($("model").value))) return;
  try {
    await preview(document);
  } catch (error) {
    if ([400, 413, 422].includes(error.status)) document.error = error.message;
  }
  arrived();
}

export const clear = () => keep(() => false);

function keep(test) {
  // Where it fails the file goes at its own time.
  for (const gone of state.ask.attachments.filter((it) => !test(it))) discard(gone).catch(() => {});
  state.ask.attachments = state.ask.attachments.filter(test);
}

function keep_attached(test) {
  keep(test);
  edited();
  $("question").focus();
}

// As if it were typed: what the question would cost is asked for anew.
const edited = () => $("ask-form").dispatchEvent(new Event("input"));

// A file that was read changes the forecast only: a refusal stays until the person changes the question.
const arrived = () => $("ask-form").dispatchEvent(new Event("arrived"));

// A picture of another host is for the service to fetch: the page's policy lets no browser show it.
function show(picture, uri) {
  if (uri === picture.url) return changed();
  picture.uri = uri;
  const image = new Image();
  image.addEventListener(
    "load",
    () => (Object.assign(picture, { width: image.naturalWidth, height: image.naturalHeight }), changed()),
  );
  // Some that the service reads no browser shows, such as HEIC.
  image.addEventListener("error", () => (Object.assign(picture, { uri: null, unseen: true }), changed()));
  image.src = uri;
  changed();
}

function add_url() {
  const url = $("url").value.trim();
  if (!url || !$("url").checkValidity()) return;
  attach(url, Promise.resolve(url), { url, kind: kind_of_url(url) });
  $("url").value = "";
  state.ask.menu = null;
  $("question").focus();
}

async function sample(file, name) {
  const answer = fetch(`page/${file}`, { signal: AbortSignal.timeout(SAMPLE_MS) });
  const blob = await answer.then((it) => it.ok && it.blob()).catch(() => null);
  if (!blob) throw new Error(`The sample “${name}” could not be loaded; try again.`);
  return data_uri(blob);
}

export function paint() {
  const { attachments } = state.ask;
  const all = make("li", { "data-key": "all" }, button("detach-all", { class: "link" }, "Remove all"));
  settle($("attached"), attachments.map(chip), attachments.length >= MANY && all);
  $("document-options").hidden = !has_document(attachments);
}

// What may be chosen is what the model takes.
export function paint_kinds(videos) {
  $("file").accept = `image/*,.heic,.heif,application/pdf${videos ? ",video/*" : ""}`;
  say(
    $("kinds"),
    `Pictures, PDF, TIFF${videos ? ", videos" : ""}${by_finger() ? "" : "; or drop or paste them anywhere"}`,
  );
}

function chip(picture) {
  const what = picture.error ? make("span", { class: "remote failed" }, picture.error) : shown(picture);
  return make(
    "li",
    { "data-key": picture.key, title: facts_of(picture) },
    what,
    picture.tokens && make("small", { class: "tokens" }, plural(picture.tokens, "token")),
    button(
      "detach",
      { class: "detach", "data-picture": picture.key, "aria-label": `Remove ${picture.name}` },
      icon("close"),
    ),
  );
}

// By name, what is no picture or only the service will see.
function shown(attachment) {
  const named = attachment.kind !== "picture" || attachment.url;
  const seen = image(attachment, named ? "" : "remote");
  const large = attachment.uri
    ? button("enlarge", { class: "large", "aria-label": `Enlarge ${attachment.name}` }, seen)
    : seen;
  if (!named) return large;
  const words = make("span", { dir: "ltr" }, attachment.name, make("small", {}, extent(attachment)));
  return make("span", { class: "remote named" }, attachment.uri ? large : icon(attachment.kind), words);
}

const extent = ({ pages, size }) => [pages && plural(pages, "page"), size && bytes(size)].filter(Boolean).join(" · ");

// The picture itself, or a sign where only the service will see it.
export function image({ uri, name, kind }, place = "") {
  return uri
    ? make("img", { src: uri, alt: name, class: place && "shot" })
    : make("span", { class: `remote ${place}`, role: "img", "aria-label": name }, icon(kind));
}

// A picture that a person can see here, or soon.
export const is_seen = ({ uri, kind, url, unseen, error }) => uri || (kind === "picture" && !url && !unseen && !error);

export const facts_of = ({ name, width, height, scaled, tokens, ...file }) =>
  [name, width && !scaled && `${width} × ${height}`, extent(file), tokens && plural(tokens, "token")]
    .filter(Boolean)
    .join(" · ");

action("choose", () => $("file").click());
action("camera", () => $("photo").click());
action("add-url", add_url);
action("detach", ({ dataset }) => keep_attached(({ key }) => key !== dataset.picture));
action("detach-all", () => keep_attached(() => false));
action("sample", ({ dataset }) => {
  const [file, name, question] = SAMPLES[dataset.sample];
  // What is typed is asked when it is done, about the sample, too.
  const typed = $("question").value.trim();
  if (!typed) clear();
  attach(name, sample(file, name));
  if (typed) return $("question").focus();
  $("question").value = question;
  $("ask-form").requestSubmit();
});
