// What cannot be undone is asked about first, in a dialog of the page.

import { action } from "./actions.js";
import { $, say } from "./dom.js";

// Whether a person agrees to `verb`.
export function confirmed(text, verb) {
  const dialog = $("confirmation");
  say($("confirmation-text"), text);
  say($("confirmation-yes"), verb);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

action("close-dialog", ({ value }) => $("confirmation").close(value));
