// The picture to ask about: from disk, clipboard, a drop or a sample.

import { $, make } from "./dom.js";

const SAMPLES = { "shapes.png": "two shapes", "dots.png": "three triangles", "word.png": "the word CAT", "sign.png": "a pink triangle" };
const CHOOSE = $("hint").textContent;
const SAMPLE_MS = 10_000;
let chosen = null; // a promise of its data URI

export function setUp() {
  $("drop").addEventListener("click", () => $("file").click());
  $("drop").addEventListener("keydown", pressed);
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("url").addEventListener("input", () => $("url").value && clear());
  for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, dragged);
  // Otherwise the browser would open a file dropped beside the box in place of this page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
  document.addEventListener("paste", (event) => take([...event.clipboardData.files].find((f) => f.type.startsWith("image/"))));
  $("samples").append(...Object.entries(SAMPLES).map(sample));
}

// The address or the data URI to send, if any. Throws where the file cannot be read, once: the next question goes
// without a picture, as the box then shows.
export async function picture() {
  const mine = chosen;
  try {
    return $("url").value.trim() || (await mine);
  } catch (error) {
    if (chosen === mine) clear();
    throw new Error(`${error.message} Ask again without a picture.`);
  }
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || !["Enter", " "].includes(event.key)) return;
  event.preventDefault();
  $("file").click();
}

function sample([file, name]) {
  const image = make("img", { src: `page/${file}`, alt: name });
  return make("li", {}, make("button", { type: "button", title: name, onclick: () => put(fetched(file, name), name) }, image));
}

async function fetched(file, name) {
  const asked = fetch(`page/${file}`, { signal: AbortSignal.timeout(SAMPLE_MS) });
  const blob = await asked.then((answer) => answer.ok && answer.blob()).catch(() => null);
  if (!blob) throw new Error(`The sample “${name}” could not be loaded; try again.`);
  return read(blob, name);
}

function dragged(event) {
  event.preventDefault();
  $("drop").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") take(event.dataTransfer.files[0]);
}

function take(file) {
  if (file) put(read(file, file.name), file.name);
}

// A promise of a data URI, chosen from now on: what comes late is neither forgotten by a question nor in the way of
// what was chosen after it.
function put(mine, name) {
  // Otherwise choosing the same file again would fire no change event.
  $("file").value = "";
  $("url").value = "";
  chosen = mine;
  mine.then(
    (uri) => chosen === mine && show(uri, name),
    (error) => chosen === mine && show("", error.message, "failed"),
  );
}

function read(file, name) {
  return new Promise((resolve, reject) => {
    if (!$("file").accept.split(",").includes(file.type)) throw new Error(`${name} is not a PNG, JPEG, WebP or GIF.`);
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error(`${name} cannot be read; choose it again.`)));
    reader.readAsDataURL(file);
  });
}

function clear() {
  chosen = null;
  show("", CHOOSE);
}

function show(uri, said, kind = "") {
  $("preview").hidden = !uri;
  $("hint").hidden = Boolean(uri);
  if (uri) $("preview").src = uri;
  $("preview").alt = uri && said;
  $("hint").textContent = said;
  $("hint").className = kind;
  $("drop").setAttribute("aria-label", uri ? `Picture ${said}. Drop, paste or choose another` : said);
}
