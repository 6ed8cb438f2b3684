// API keys, for those who may administer: who has one, what it may, how it is used, and which webhook gets the events of its jobs.
// A new key is shown once, and so is the secret of a new webhook.

import { action, once } from "./actions.js";
import { confirmed } from "./confirmation.js";
import { $, button, make, say, settle, toast } from "./dom.js";
import { Resource } from "./resource.js";
import { code_box } from "./snippets.js";
import { changed, paints, state } from "./store.js";
import { ago, clock, number, now } from "./words.js";
import { call } from "./wire.js";

const SCOPES = { submit: "ask", read: "read answers", admin: "administer" };
const ENDS = ["job.succeeded", "job.failed", "job.cancelled", "batch.completed", "batch.failed", "batch.cancelled", "batch.expired"];
const EVENTS = ["job.running", ...ENDS];
const DAY_S = 86_400;

export const list = new Resource(
  "keys",
  () => "v1/admin/keys",
  (data) => (state.keys.list = data?.data ?? null),
  { every_ms: 5000 },
);

export function set_up() {
  $("key-list").addEventListener(
    "submit",
    (event) => (event.preventDefault(), once("key", () => (state.keys.hook_of ? save_hook : create)(event.target))),
  );
  paints(paint, "keys");
}

async function create(form) {
  const field = (name) => form.elements[name].value.trim();
  const count = (name) => (field(name) ? Number(field(name)) : undefined);
  const body = {
    name: field("name"),
    caller: field("caller") || undefined,
    scopes: Object.keys(SCOPES).filter((scope) => form.elements[scope].checked),
    requests_per_minute: count("requests_per_minute"),
    max_queued: count("max_queued"),
    expires_at: count("days") && Math.round(now() + count("days") * DAY_S),
  };
  await attempt(async () => {
    const { data } = await call("v1/admin/keys", { method: "POST", body });
    Object.assign(state.keys, { secret: data, form_open: false });
  });
}

async function save_hook(form) {
  const body = {
    url: form.elements.url.value.trim(),
    events: EVENTS.filter((name) => form.elements[name].checked),
  };
  const { id } = state.keys.hook_of;
  await attempt(async () => {
    const { data } = await call(`v1/admin/keys/${id}/webhook`, { method: "PUT", body });
    show_hook_secret(data);
  });
}

// The secret of a key's webhooks, if it is new.
function show_hook_secret({ name, webhook_secret: secret }) {
  Object.assign(state.keys, { hook_of: null, secret: secret && { name: `webhook of ${name}`, secret } });
}

// A refusal stands where the form is; what was done is read again.
async function attempt(work) {
  state.keys.note = "";
  try {
    await work();
  } catch (error) {
    state.keys.note = error.message;
  }
  list.due = 0;
  await list.refresh();
  changed();
}

function paint() {
  const error = state.errors.keys;
  say($("keys-note"), error?.status && error.status !== 401 && error.code !== "keys_off" ? error.message : "");
  const { list: all, secret, form_open, hook_of, note } = state.keys;
  if (error?.code === "keys_off") return settle($("key-list"), keys_off());
  settle(
    $("key-list"),
    all && [
      note && make("p", { class: "failure", role: "alert", "data-key": "note" }, note),
      secret && shown_once(`The secret of “${secret.name}”`, secret.secret, "forget-key"),
      hook_of && hook_form(hook_of),
      form_open && form(),
      !form_open &&
        !hook_of &&
        make(
            "p",
            { class: "bar-line", "data-key": "open" },
            button("key-form", { class: "primary" }, "New key"),
            !all.length &&
              make(
                "span",
                { class: "muted" },
                "So far there is the admin key alone. A key says who asks, what they may do, and how much.",
              ),
          ),
      all.length > 0 && table(all),
    ],
  );
}

// Made here, so that it can be copied into both places; the service hears of it when it is started with it.
const admin_key = Array.from(crypto.getRandomValues(new Uint8Array(24)), (n) => n.toString(16).padStart(2, "0")).join(
  "",
);

function keys_off() {
  const step = (...words) => make("li", {}, words);
  return make(
    "div",
    { class: "teach" },
    make("h2", {}, "Keys are off"),
    make(
      "p",
      {},
      "This service answers its own machine only, and all callers are one. With keys, each caller has jobs, limits and permissions of its own. To turn them on:",
    ),
    make(
      "ol",
      {},
      step(
        "Stop the service. In its terminal, set this admin key, made just now in your browser, then start the service again in this terminal:",
        code_box(make("b", {}, "Terminal"), `export SIGHTLINE_API__ADMIN_KEY=${admin_key}`),
      ),
      step("Keep that key. This page then asks for it: ", button("copy", { "data-text": admin_key }, "Copy the key")),
      step("Come back here and create a key for each caller."),
    ),
  );
}

// A secret that the service will not show again.
function shown_once(title, secret, done) {
  return make(
    "div",
    { class: "card secret", role: "alert", "data-key": "secret" },
    make("h2", {}, title),
    make("p", {}, "Copy it now: it is shown this once."),
    make(
      "p",
      { class: "joined" },
      make("code", { class: "value" }, secret),
      button("copy", { "data-text": secret }, "Copy"),
      button(done, { class: "ghost small" }, "Done"),
    ),
  );
}

const field = (name, title, attributes, note) =>
  make(
    "label",
    { class: "field" },
    title,
    make("input", { name, autocomplete: "off", ...attributes }),
    note && make("small", {}, note),
  );

function form() {
  const scopes = Object.entries(SCOPES).map(([scope, words]) =>
    make(
      "label",
      { class: "switch" },
      make("input", { type: "checkbox", name: scope, checked: scope !== "admin" }),
      make("span", {}, scope, make("small", {}, words)),
    ),
  );
  return make(
    "form",
    { class: "card form", "data-key": "form", "aria-label": "New key" },
    field("name", "Name", { required: true, maxlength: 64, placeholder: "Example Ltd" }, "whom it is for"),
    field(
      "caller",
      "Caller",
      { placeholder: "a caller of its own", pattern: "[a-z0-9._\\-]{1,64}" },
      "keys of one caller see the same jobs",
    ),
    make("fieldset", { class: "scopes" }, make("legend", {}, "Permissions"), scopes),
    field("requests_per_minute", "Requests a minute", { type: "number", min: 1, placeholder: "no limit" }),
    field("max_queued", "Waiting jobs", { type: "number", min: 1, placeholder: "the service's limit" }),
    field("days", "Expires after days", { type: "number", min: 1, placeholder: "never" }),
    make("p", { class: "bar-line" }, make("button", { class: "primary" }, "Create"), button("key-form", {}, "Cancel")),
  );
}

function hook_form({ name, webhook: hook }) {
  const events = EVENTS.map((name) =>
    make(
      "label",
      { class: "switch" },
      make("input", { type: "checkbox", name, checked: (hook?.events ?? ENDS).includes(name) }),
      name,
    ),
  );
  return make(
    "form",
    { class: "card form", "data-key": "hook", "aria-label": `Webhook of ${name}` },
    field(
      "url",
      `Webhook of “${name}”`,
      { type: "url", required: true, value: hook?.url ?? "", placeholder: "https://shop.example/hook" },
      "is called for jobs and batches that name no webhook of their own",
    ),
    make("fieldset", { class: "scopes" }, make("legend", {}, "It is called for"), events),
    make(
      "p",
      { class: "bar-line" },
      make("button", { class: "primary" }, "Save"),
      button("close-hook", {}, "Cancel"),
      hook && button("rotate-hook", {}, "New secret"),
      hook && button("delete-hook", { class: "quiet small danger" }, "Delete"),
    ),
  );
}

// What the service does not tell of any key has no column.
function table(all) {
  const columns = Object.entries(COLUMNS).filter(
    ([, { field }]) => !field || all.some((key) => key[field] !== undefined),
  );
  return make(
    "div",
    { class: "scroll", "data-key": "table", tabindex: 0, role: "region", "aria-label": "All keys" },
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          columns.map(([name]) => make("th", { scope: "col" }, name)),
        ),
      ),
      make(
        "tbody",
        {},
        all.map((key) =>
          make(
            "tr",
            { "data-key": key.id, class: is_over(key) && "over" },
            columns.map(([, { cell }]) => make("td", {}, cell(key))),
          ),
        ),
      ),
    ),
  );
}

const is_over = ({ revoked_at, expires_at }) => Boolean(revoked_at || (expires_at && expires_at < now()));

const COLUMNS = {
  Name: {
    cell: ({ id, name, caller, ...key }) => [
      make("b", { dir: "auto" }, name),
      make("small", { title: id }, [caller, validity(key)].filter(Boolean).join(" · ")),
    ],
  },
  Permissions: { cell: ({ scopes }) => scopes.map((scope) => make("span", { class: "chip" }, scope)) },
  Quota: {
    cell: ({ requests_per_minute: requests, max_queued: jobs }) =>
      [requests && `${number(requests)} a minute`, jobs && `${number(jobs)} in line`].filter(Boolean).join(", ") || "–",
  },
  Use: { field: "requests", cell: ({ requests: count }) => (count == null ? "–" : `${number(count)} in the last minute`) },
  "Last seen": { field: "last_seen_at", cell: ({ last_seen_at: at }) => (at ? ago(at) : "never") },
  Webhook: { field: "webhook", cell: ({ webhook: hook }) => (hook ? make("small", { dir: "auto" }, hook.url) : "–") },
  Actions: { cell: (key) => make("span", { class: "end" }, !is_over(key) && acts(key)) },
};

function validity({ revoked_at, expires_at }) {
  if (revoked_at) return `revoked ${ago(revoked_at)}`;
  return expires_at && (expires_at < now() ? "expired" : `until ${clock(expires_at)}`);
}

const acts = ({ id, name }) => [
  button("edit-hook", { "data-id": id, "aria-label": `Webhook of ${name}` }, "Webhook"),
  button("rotate-key", { "data-id": id, "data-name": name }, "Rotate"),
  button("revoke-key", { class: "quiet small danger", "data-id": id, "data-name": name }, "Revoke"),
];

action("key-form", () => ((state.keys.form_open = !state.keys.form_open), changed()));
action("forget-key", () => ((state.keys.secret = null), changed()));
action("edit-hook", ({ dataset: { id } }) => {
  Object.assign(state.keys, { form_open: false, hook_of: state.keys.list.find((key) => key.id === id) });
  changed();
});
action("close-hook", () => ((state.keys.hook_of = null), changed()));
action("rotate-hook", async () => {
  const { id, name } = state.keys.hook_of;
  if (!(await confirmed(`Give the webhook of “${name}” a new secret? The old one signs as well for a day.`, "Make a new secret")))
    return;
  await attempt(async () => {
    const { data } = await call(`v1/admin/keys/${id}/webhook/rotate`, { method: "POST" });
    show_hook_secret(data);
  });
});
action("delete-hook", async () => {
  const { id, name } = state.keys.hook_of;
  if (!(await confirmed(`Delete the webhook of “${name}” and what waits for it?`, "Delete"))) return;
  await attempt(async () => {
    await call(`v1/admin/keys/${id}/webhook`, { method: "DELETE" });
    state.keys.hook_of = null;
  });
});
action(
  "rotate-key",
  async ({ dataset: { id, name } }) =>
    (await confirmed(`Give “${name}” a new secret? The old one goes on for a day.`, "Make a new secret")) &&
    attempt(async () => {
      const { data } = await call(`v1/admin/keys/${id}/rotate`, { method: "POST" });
      state.keys.secret = data;
    }),
);
action(
  "revoke-key",
  async ({ dataset: { id, name } }) =>
    (await confirmed(`Revoke “${name}”? Whatever uses it is refused within a second.`, "Revoke")) &&
    attempt(async () => {
      await call(`v1/admin/keys/${id}`, { method: "DELETE" });
      toast("Revoked");
    }),
);
