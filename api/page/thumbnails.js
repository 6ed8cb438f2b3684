// Small pictures of jobs, twice as large as they are drawn: read when a list stands still, one after the other, the last few hundred kept.

import { icon, make } from "./dom.js";
import { changed, state } from "./store.js";
import { picture } from "./wire.js";

const SIDE = 256;
const MOST = 400;
const AT_ONCE = 4;
const STILL_MS = 150;
const queue = new Set();
let still = 0; // the timer of a list that stands still
let reading = 0;

export function thumbnail(job) {
  const count = job.pages ? 0 : (job.question?.pictures ?? 0);
  const uri = count > 0 && small_picture(job.id);
  return make(
    "span",
    { class: "pic", "data-thumbnail": job.id },
    uri ? make("img", { src: uri, alt: "" }) : (job.pages || count > 0) && icon(job.pages ? "document" : "picture"),
    count > 1 && make("b", {}, count),
  );
}

// What is known already; where nothing is, it is read and painted later, if an element with this id in
// data-thumbnail stands in the document.
export function small_picture(id) {
  const uri = state.thumbnails.get(id);
  if (uri !== undefined || queue.has(id)) return uri;
  queue.add(id);
  clearTimeout(still);
  still = setTimeout(() => {
    while (reading < AT_ONCE && reading < queue.size) read();
  }, STILL_MS);
  return null;
}

async function read() {
  reading++;
  for (const id of queue) {
    queue.delete(id);
    // What was scrolled past is not read; it is wanted again when it comes back.
    if (!document.querySelector(`[data-thumbnail="${id}"]`)) continue;
    state.thumbnails.set(id, null);
    try {
      state.thumbnails.set(id, await picture(`v1/jobs/${id}/pictures/0?side=${SIDE}`));
      changed();
    } catch {
      // It keeps its sign.
    }
    if (state.thumbnails.size > MOST) state.thumbnails.delete(state.thumbnails.keys().next().value);
  }
  reading--;
}
