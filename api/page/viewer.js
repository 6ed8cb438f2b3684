// A picture as large as the window; what is shown small is read whole meanwhile.

import { action } from "./actions.js";
import { $ } from "./dom.js";
import { picture } from "./wire.js";

let reading = new AbortController();

export async function enlarge(element) {
  const small = element.querySelector("img");
  if (!small) return;
  const { signal } = (reading = new AbortController());
  const shown = $("viewer").querySelector("img");
  shown.src = small.src;
  shown.alt = small.alt || element.ariaLabel.replace(/^Enlarge /, "");
  $("viewer").showModal();
  if (!element.dataset.path) return;
  // Where it is gone the small one stays.
  const whole = await picture(element.dataset.path, signal).catch(() => null);
  if (whole && !signal.aborted) shown.src = whole;
}

$("viewer").addEventListener("close", () => reading.abort());

action("enlarge", enlarge);
action("close-viewer", () => $("viewer").close());
