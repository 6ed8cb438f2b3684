// Webhook endpoints of the key's caller, and what was delivered to each.

import { action, once } from "./actions.js";
import { $, button, icon, make, say, settle, toast } from "./dom.js";
import { delivery } from "./drawer.js";
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
  (data) => (state.endpoints.list = data?.data ?? null),
  { every_ms: 5000 },
);

export const deliveries = new Resource(
  "deliveries",
  () => state.endpoints.opened && `v1/webhooks/${state.endpoints.opened}/deliveries`,
  (data) => (state.endpoints.deliveries = data?.data ?? null),
);

export function set_up() {
  $("endpoints").addEventListener("submit", (event) => (event.preventDefault(), once("endpoint", () => create(event.target))));
  paints(paint);
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
  if (state.view !== "endpoints") return;
  const error = state.errors.endpoints;
  say($("endpoints-note"), error?.status && error.status !== 401 ? error.message : "");
  const { list: all, secret, form_open, note } = state.endpoints;
  settle(
    $("endpoints"),
    all && [
      note && make("p", { class: "failure", role: "alert", "data-key": "note" }, note),
      secret && shown_once(`The secret of ${secret.url}`, secret.secret, "forget-secret"),
      form_open ? form() : all.length ? make("p", { class: "bar-line", "data-key": "open" }, opener()) : nothing(),
      all.map(card),
    ],
  );
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
      button("endpoint-form", {}, "Not now"),
    ),
  );
}

function card(endpoint) {
  const { id, url, description, events, enabled, disabled_reason, disabled_at } = endpoint;
  const { opened, deliveries: known } = state.endpoints;
  const why = disabled_reason === "gone" ? "Off: it answered 410" : "Off";
  return make(
    "article",
    { class: "card endpoint", "data-key": id },
    make(
      "header",
      {},
      make("h2", { dir: "auto" }, url),
      make("span", { class: `state ${enabled ? "good" : "warn"}` }, enabled ? "On" : `${why}, ${ago(disabled_at)}`),
    ),
    make("p", { class: "muted" }, [description, events.join(", ")].filter(Boolean).join(" · ")),
    make(
      "p",
      { class: "bar-line" },
      button("deliveries", { "data-id": id, "aria-expanded": String(opened === id) }, "Deliveries"),
      button("test-endpoint", { "data-id": id }, "Send a test"),
      button("turn-endpoint", { "data-id": id, "data-enabled": String(!enabled) }, enabled ? "Turn off" : "Turn on"),
      button("delete-endpoint", { class: "quiet small danger", "data-id": id, "data-url": url }, "Delete"),
    ),
    opened === id &&
      (known?.length
        ? make(
            "ul",
            { class: "rows-list" },
            known.map((it) => sent(id, it)),
          )
        : make("p", { class: "muted" }, known ? "No delivery yet." : "Reading…")),
  );
}

function sent(id, it) {
  const line = delivery(it);
  if (it.event !== "webhook.test")
    line.append(
      button(
        "replay-event",
        { class: "ghost small", "data-id": id, "data-event": it.event_id, "aria-label": `Send ${it.event_id} again` },
        icon("again"),
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
    toast("A test is on its way");
  }),
);
action("turn-endpoint", ({ dataset: { id, enabled } }) =>
  attempt(() => call(`v1/webhooks/${id}`, { method: "PATCH", body: { enabled: enabled === "true" } })),
);
action(
  "delete-endpoint",
  ({ dataset: { id, url } }) =>
    confirm(`Delete ${url} and what waits for it?`) && attempt(() => call(`v1/webhooks/${id}`, { method: "DELETE" })),
);
action("replay-event", ({ dataset: { id, event } }) =>
  attempt(async () => {
    await call(`v1/webhooks/${id}/deliveries/${event}/replay`, { method: "POST" });
    toast("Sent again");
  }),
);
