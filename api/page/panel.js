// One part of the page: fetched again, painted where it changed, emptied where the key may not see it.

import { say } from "./dom.js";
import { call } from "./wire.js";

export class Panel {
  // `path` says what to ask; `paint` shows the answer, or nothing where it is null; refusals are said in `note`.
  constructor(path, paint, note) {
    Object.assign(this, { path, paint, note, error: null, shown: "null", turn: null });
  }

  // Whether what is shown has changed. Only the answer to the latest question is shown.
  async refresh() {
    if (this.error?.code === "insufficient_scope") return false;
    this.turn?.abort();
    const { signal } = (this.turn = new AbortController());
    try {
      const { data } = await call(this.path(), { signal });
      if (signal.aborted) return false;
      return this.#told(null, data);
    } catch (error) {
      if (signal.aborted) return false;
      return this.#told(error, null);
    }
  }

  // With another key, nothing that the old one showed stays on the screen.
  forget() {
    this.turn?.abort();
    this.#told(null, null);
  }

  #told(error, data) {
    this.error = error;
    // The header reports a service that is away, and a wrong key.
    say(this.note, error?.status && error.status !== 401 ? error.message : "");
    if (error && ![401, 403].includes(error.status)) return false;
    const text = JSON.stringify(data);
    if (text === this.shown) return false;
    this.shown = text;
    this.paint(data);
    return true;
  }
}
