// One answer of the service that the page shows: fetched again, kept in the store, emptied where the key may not see it.

import { changed, state } from "./store.js";
import { call } from "./wire.js";

export class Resource {
  // `path` says what to ask, if anything; `take` keeps the answer in the store, null where there is none.
  constructor(name, path, take, { every_ms = 0, accept = [] } = {}) {
    Object.assign(this, {
      name,
      path,
      take,
      every_ms,
      accept,
      due: 0,
      last: "null",
      turn: null,
      refused: false,
      stale: false,
    });
  }

  // Whether the answer has changed. Only the answer to the latest question counts.
  async refresh() {
    const path = this.path();
    if (!path || this.refused || performance.now() < this.due) return false;
    this.turn?.abort();
    const { signal } = (this.turn = new AbortController());
    this.stale = false;
    try {
      const { data } = await call(path, { signal, accept: this.accept });
      if (signal.aborted) return false;
      this.due = performance.now() + this.every_ms;
      return this.#keep(null, data);
    } catch (error) {
      return !signal.aborted && this.#keep(error, null);
    }
  }

  // With another key, nothing that the old one showed stays on the screen.
  forget() {
    this.turn?.abort();
    this.refused = false;
    this.due = 0;
    this.#keep(null, null);
  }

  #keep(error, data) {
    if (state.errors[this.name] || error) changed();
    state.errors[this.name] = error;
    // Without the scope, the route or keys at all, asking again will not help.
    this.refused = ["insufficient_scope", "keys_off"].includes(error?.code) || error?.status === 404;
    if (error && ![401, 403, 404].includes(error.status)) return false;
    const text = JSON.stringify(data);
    if (text === this.last) return false;
    this.last = text;
    this.take(data);
    changed();
    return true;
  }
}
