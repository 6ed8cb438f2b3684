// Webhook endpoints of the key's caller, and what was delivered to each.

import { action, once } from "./actions.js";
import { confirmed } from "./confirmation.js";
import { delivery } from "./deliveries.js";
import { $, button, icon, make, say, settle, toast } from "./dom.js";
import { shown_once } from "./keys.js";
import { Resource } from "./resource.js";
import { changed, paints, state } from "./store.js";
import { ago } from "./words.js";
import { call } from "./wire.js";

const ENDS = ["job.succeeded", "job.failed", "job.cancelled", "batch.*"];
const EVENTS = ["job.running", ...ENDS];

export const list = new Resource(
  "endpoints",
  () => "v1/webhooks",
  (data) => {
    Object.assign(state.endpoints, { list: data?.data ?? null, last: {} });
    if (data) read_last(data.data);
  },
  { every_ms: 5000 },
);

export const deliveries = new Resource(
  "deliveries",
  () => state.endpoints.opened && `v1/webhooks/${state.endpoints.opened}/deliveries`,
  (data) => {
    state.endpoints.deliveries = data?.data ?? null;
    if (data) state.endpoints.last[state.endpoints.opened] = data.data[0];
  },
);

// How the last call of each went; afterwards, that of the opened one alone is followed.
async function read_last(all) {
  for (const { id } of all) {
    try {
      state.endpoints.last[id] = (await call(`v1/webhooks/${id}/deliveries`)).data.data[0];
    } catch {
      return; // Without it, no call is said to have failed.
    }
    changed();
  }
}

export function set_up() {
  $("endpoint-list").addEventListener(
    "submit",
    (event) => (event.preventDefault(), once("endpoint", () => create(event.target))),
  );
  window.addEventListener("view", () => {
    state.endpoints.opened = null;
    deliveries.forget();
  });
  paints(paint, "webhooks");
}

async function create(form) {
  const events = EVENTS.filter((name) => form.elements[name].checked);
  const body = {
    url: form.elements.url.value.trim(),
    description: form.elements.description.value.trim(),
    ...(events.length && { events }),
  };
  await attempt(async () => {
    const { data } = await call("v1/webhooks", { method: "POST", body });
    Object.assign(state.endpoints, { secret: data, form_open: false });
  });
}

// A refusal stands where the form is; what was done is read again.
async function attempt(work) {
  state.endpoints.note = "";
  try {
    await work();
  } catch (error) {
    state.endpoints.note = error.message;
  }
  list.due = 0;
  await Promise.all([list.refresh(), deliveries.refresh()]);
  changed();
}

function paint() {
  const error = state.errors.endpoints;
  say($("webhooks-note"), error?.status && error.status !== 401 ? error.message : "");
  const { list: all, secret, form_open, note } = state.endpoints;
  settle(
    $("endpoint-list"),
    all && [
      note && make("p", { class: "failure", role: "alert", "data-key": "note" }, note),
      secret && shown_once(`The secret of ${secret.url}`, secret.secret, "forget-secret"),
      form_open ? form() : !all.length && nothing(),
      all.map(card),
    ],
  );
  settle($("webhooks-open"), all?.length > 0 && !form_open && opener());
}

const opener = () => button("endpoint-form", { class: "primary" }, "New webhook");

const nothing = () =>
  make(
    "div",
    { class: "teach", "data-key": "nothing" },
    make("h2", {}, "No webhooks yet"),
    make(
      "p",
      {},
      "A webhook is a URL of yours that is called when a job or a batch ends. Each call is signed, tried again while it fails, and listed here.",
    ),
    make("p", {}, opener()),
  );

function form() {
  const events = EVENTS.map((name) =>
    make("label", { class: "switch" }, make("input", { type: "checkbox", name, checked: ENDS.includes(name) }), name),
  );
  return make(
    "form",
    { class: "card form", "data-key": "form", "aria-label": "New webhook" },
    make(
      "label",
      { class: "field" },
      "URL",
      make("input", {
        name: "url",
        type: "url",
        required: true,
        placeholder: "https://shop.example/hook",
        autocomplete: "off",
      }),
    ),
    make(
      "label",
      { class: "field" },
      "Description",
      make("input", { name: "description", maxlength: 200, placeholder: "The shop", autocomplete: "off" }),
    ),
    make("fieldset", { class: "scopes" }, make("legend", {}, "It is called for"), events),
    make(
      "p",
      { class: "bar-line" },
      make("button", { class: "primary" }, "Create"),
      button("endpoint-form", {}, "Cancel"),
    ),
  );
}

function card(endpoint) {
  const { id, url, description, events, enabled, disabled_reason, disabled_at } = endpoint;
  const { opened, deliveries: known } = state.endpoints;
  const why = disabled_reason === "gone" ? "Off: it answered 410" : "Off";
  const failing = Boolean(state.endpoints.last[id]?.error);
  const on = failing ? "On · last call failed" : "On";
  return make(
    "article",
    { class: "card endpoint", "data-key": id },
    make(
      "header",
      {},
      make("h2", { dir: "auto" }, url),
      make(
        "span",
        { class: `state ${!enabled ? "warn" : failing ? "bad" : "good"}` },
        enabled ? on : `${why}, ${ago(disabled_at)}`,
      ),
    ),
    make("p", { class: "muted" }, [description, events.join(", ")].filter(Boolean).join(" · ")),
    make(
      "p",
      { class: "bar-line" },
      button("deliveries", { "data-id": id, "aria-expanded": String(opened === id) }, "Deliveries"),
      button("test-endpoint", { "data-id": id }, "Send a test"),
      button("turn-endpoint", { "data-id": id, "data-enabled": String(!enabled) }, enabled ? "Turn off" : "Turn on"),
      button("rotate-endpoint", { "data-id": id, "data-url": url }, "New secret"),
      button("delete-endpoint", { class: "quiet small danger", "data-id": id, "data-url": url }, "Delete"),
    ),
    opened === id &&
      (known?.length
        ? [
            make(
              "p",
              { class: "fine" },
              "A call that fails is made again by itself: soon at first, then ever later, for days.",
            ),
            make(
              "ul",
              { class: "rows-list" },
              known.map((it, at) => sent(id, it, known.slice(at + 1))),
            ),
          ]
        : make("p", { class: "muted" }, known ? "No delivery yet." : "Reading…")),
  );
}

// `earlier`: the calls before this one. The first try of an event that was tried before was asked for.
function sent(id, it, earlier) {
  const before = earlier.filter(({ event_id, attempt }) => event_id === it.event_id && attempt === 1);
  const line = delivery(it, before.length > (it.attempt > 1 ? 1 : 0));
  if (it.event !== "webhook.test")
    line.append(
      button(
        "replay-event",
        { class: "ghost small", "data-id": id, "data-event": it.event_id, "aria-label": `Send again: ${it.event_id}` },
        icon("again"),
        "Send again",
      ),
    );
  return line;
}

action("endpoint-form", () => ((state.endpoints.form_open = !state.endpoints.form_open), changed()));
action("forget-secret", () => ((state.endpoints.secret = null), changed()));
action("deliveries", ({ dataset: { id } }) =>
  attempt(() => {
    state.endpoints.opened = state.endpoints.opened === id ? null : id;
    deliveries.forget();
  }),
);
action("test-endpoint", ({ dataset: { id } }) =>
  attempt(async () => {
    await call(`v1/webhooks/${id}/test`, { method: "POST" });
    if (state.endpoints.opened !== id) deliveries.forget();
    state.endpoints.opened = id;
    toast("A test is on its way: see its delivery below");
  }),
);
action(
  "rotate-endpoint",
  async ({ dataset: { id, url } }) =>
    (await confirmed(`Give ${url} a new secret? The old one signs as well for a day.`, "Make a new secret")) &&
    attempt(async () => {
      const { data } = await call(`v1/webhooks/${id}/rotate`, { method: "POST" });
      state.endpoints.secret = data;
    }),
);
action("turn-endpoint", ({ dataset: { id, enabled } }) =>
  attempt(() => call(`v1/webhooks/${id}`, { method: "PATCH", body: { enabled: enabled === "true" } })),
);
action(
  "delete-endpoint",
  async ({ dataset: { id, url } }) =>
    (await confirmed(`Delete ${url} and what waits for it?`, "Delete")) &&
    attempt(() => call(`v1/webhooks/${id}`, { method: "DELETE" })),
);
action("replay-event", ({ dataset: { id, event } }) =>
  attempt(async () => {
    await call(`v1/webhooks/${id}/deliveries/${event}/replay`, { method: "POST" });
    toast("Sent again");
  }),
);
