// Small pictures of jobs: read one after the other as they come into sight, the last few hundred kept.

import { make, icon } from "./dom.js";
import { changed, state } from "./store.js";
import { pause, picture, spacing_ms } from "./wire.js";

const SIDE = 96;
const MOST = 400;
const AT_ONCE = 4;
const wanted = [];
let reading = 0;

export function thumbnail(job) {
  const count = job.question?.pictures ?? 0;
  const uri = count > 0 && look_up(job.id);
  return make("span", { class: "pic" }, uri ? make("img", { src: uri, alt: "" }) : icon(count ? "picture" : "ask"), count > 1 && make("b", {}, count));
}

// What is known already; where nothing is, it is read and painted later.
function look_up(id) {
  const known = state.thumbnails.get(id);
  if (known === undefined) {
    state.thumbnails.set(id, null);
    if (state.thumbnails.size > MOST) state.thumbnails.delete(state.thumbnails.keys().next().value);
    wanted.unshift(id);
    if (reading < AT_ONCE) read();
  }
  return known;
}

async function read() {
  reading++;
  // What was scrolled past long ago is not read any more.
  for (let id; (id = wanted.shift()); ) {
    if (!state.thumbnails.has(id)) continue;
    try {
      state.thumbnails.set(id, await picture(`v1/jobs/${id}/pictures/0?side=${SIDE}`));
      changed();
    } catch {
      // It keeps its sign.
    }
    await pause(spacing_ms(2));
  }
  reading--;
}
