// The form for a question: its model and settings, what it would cost, and what keeps it from being asked.

import { action, shortcut } from "./actions.js";
import { can_be_paged, has_document, limits_of, model_of, objection } from "./media.js";
import * as conversation from "./conversation.js";
import { $, by_finger, make, say, settle } from "./dom.js";
import * as attachments from "./pictures.js";
import { Resource } from "./resource.js";
import { changed, paints, state } from "./store.js";
import { shown_in } from "./talks.js";
import { number, plural, range, REASONS } from "./words.js";
import { call } from "./wire.js";

const TYPING_MS = 700;
const FORECAST_BYTES = 3_000_000; // Larger pictures would be sent twice for a guess.
const LOWEST_PX = 160;
const POPOVERS = ["pictures", "settings"];
const MENUS = [...POPOVERS, "mine"]; // The questions asked are a menu on a phone only.

// A model added or removed while the page is open does not change the chosen one.
export const models = new Resource(
  "models",
  () => "v1/models",
  (data) => (state.models = data?.data ?? null),
  { every_ms: 30_000 },
);

export function set_up() {
  attachments.set_up();
  $("ask-form").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  $("ask-form").addEventListener("input", edited);
  $("ask-form").addEventListener("change", edited);
  $("ask-form").addEventListener("arrived", expect_forecast);
  // Before the click's own action, which may open another one.
  document.addEventListener("click", ({ target }) => target.closest(".popover, [aria-controls]") || open(null), true);
  paints(paint_models);
  paints(paint, "ask");
}

function edited(event) {
  // Another model counts otherwise.
  if (event?.target.id === "model") count_tokens(state.ask, null);
  state.ask.note = "";
  expect_forecast();
}

function expect_forecast() {
  clearTimeout(state.ask.typing);
  state.ask.typing = setTimeout(forecast, TYPING_MS);
  changed();
}

// The question and all that it is asked with.
function draft() {
  const parameters = {
    ...($("max").value && { max_new_tokens: Number($("max").value) }),
    ...($("temperature").value && { temperature: Number($("temperature").value) }),
    ...($("json").checked && { response_format: { type: "json_schema", json_schema: { schema: schema() } } }),
  };
  const documents = has_document(state.ask.attachments);
  const question = $("question").value.trim() || what_is_attached();
  return {
    question,
    attachments: [...state.ask.attachments],
    pages: documents && $("pages").value.trim(),
    per_page: documents && $("per-page").checked,
    model: $("model").value,
    priority: $("priority").value,
    fresh: $("fresh").checked,
    parameters,
  };
}

function schema() {
  try {
    return JSON.parse($("schema").value);
  } catch {
    return null;
  }
}

function submit() {
  if (conversation.busy()) return;
  const request = draft();
  const unread = request.attachments.find(({ error }) => error);
  if (unread) return refuse(`${unread.error} Remove it, then ask again.`);
  const reason = refusal_reason(request);
  if (reason) return refuse(reason);
  if (!$("json").checked || schema()) return request.question ? send(request) : $("question").focus();
  refuse("The JSON schema is not JSON yet.");
}

function refuse(text) {
  state.ask.note = text;
  changed();
}

function send(request) {
  Object.assign(state.ask, { attachments: [], forecast: null, note: "" });
  clearTimeout(state.ask.typing);
  $("question").value = "";
  open(null);
  conversation.ask(request);
  // The button that was clicked gives way to another one.
  if (!by_finger()) $("question").focus();
}

// A job's question goes into the form for a conversation of its own.
export function load(request) {
  conversation.change_talk(null);
  fill(request);
}

// Puts a question back into the form, to be asked with other settings.
function fill({ question, attachments: former, model, priority, fresh, parameters, pages, per_page }) {
  attachments.clear();
  for (const { name, ready, url, size, kind, file_id } of former)
    attachments.attach(name, ready, { url, size, kind, file_id });
  $("pages").value = pages || "";
  $("per-page").checked = Boolean(per_page);
  $("question").value = question;
  state.ask.model = model;
  $("priority").value = priority;
  $("fresh").checked = Boolean(fresh);
  $("max").value = parameters.max_new_tokens ?? "";
  $("temperature").value = parameters.temperature ?? "";
  const own_schema = parameters.response_format?.json_schema?.schema ?? parameters.structured_outputs?.json;
  $("json").checked = Boolean(own_schema);
  if (own_schema) $("schema").value = JSON.stringify(own_schema, null, 1);
  location.hash = "ask";
  // A document has its own choices in sight.
  open(has_document(former) ? null : "settings");
  $("question").focus();
}

async function forecast() {
  const request = draft();
  const { typing } = state.ask;
  state.ask.forecast = null;
  const known = request.attachments.every(({ kind, url, pages }) => kind === "picture" || url || pages);
  const asked = request.question && !conversation.busy() && !request.per_page && !objection(request, chosen_model());
  if (!asked || !known) return changed();
  const body = await conversation.body(request).catch(() => null);
  if (!body || JSON.stringify(body).length > FORECAST_BYTES) return changed();
  try {
    const { data } = await call("v1/estimate", { method: "POST", body, more: conversation.more(request) });
    if (state.ask.typing === typing) {
      state.ask.forecast = data;
      count_tokens(request, data.tokens.pictures);
    }
  } catch (error) {
    if (error.status === 400 || error.status === 422)
      state.ask.forecast = { refusal: { detail: error.message, code: error.code } };
  }
  changed();
}

// How many tokens each picture takes; those of the question come last. Null where they are not known.
function count_tokens({ attachments }, counts) {
  const pictures = attachments.filter(({ kind }) => kind === "picture");
  pictures.forEach((it, at) => (it.tokens = counts?.at(at - pictures.length) ?? null));
}

function paint_models() {
  list($("model"), []);
  list($("by-model"), [make("option", { value: "", "data-key": "" }, "Any model")]);
  choose_model();
}

function paint() {
  const busy = conversation.busy();
  attachments.paint();
  for (const menu of POPOVERS) $(menu).hidden = state.ask.menu !== menu;
  for (const menu of MENUS) $(`${menu}-open`).setAttribute("aria-expanded", String(state.ask.menu === menu));
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  $("schema-field").hidden = !$("json").checked;
  if (POPOVERS.includes(state.ask.menu)) put_at_button(state.ask.menu);
  say($("changed"), settings_in_words());
  $("question").placeholder = placeholder();
  attachments.paint_kinds(Boolean(chosen_model()?.max_videos));
  say($("ask-note"), state.ask.note);
  paint_forecast(busy);
  grow();
}

// A popover opens above its button, no wider than the form and no higher than the view.
function put_at_button(menu) {
  const { style, offsetWidth } = $(menu);
  const room = $("ask-form").clientWidth - offsetWidth;
  const above = $("ask-form").getBoundingClientRect().top - $("view-ask").getBoundingClientRect().top;
  style.left = `${Math.max(0, Math.min($(`${menu}-open`).offsetLeft, room))}px`;
  style.maxHeight = `${Math.max(LOWEST_PX, above - 16)}px`;
}

// What stays set is not forgotten.
function settings_in_words() {
  const { max_new_tokens: most, temperature } = draft().parameters;
  return [
    $("json").checked && "JSON schema",
    most && plural(most, "token"),
    temperature !== undefined && `temperature ${temperature}`,
    $("fresh").checked && "no cache",
  ]
    .filter(Boolean)
    .join(", ");
}

function list(select, first) {
  settle(
    select,
    first,
    (state.models ?? []).map(({ id }) => make("option", { value: id, "data-key": id }, id)),
  );
}

// What is asked where nothing is typed.
function what_is_attached() {
  const [first] = state.ask.attachments;
  return first ? `What is in this ${first.kind}?` : "";
}

function placeholder() {
  const { talk } = state.ask;
  if (talk?.turns.at(-1)?.request.per_page) return "Ask a follow-up about these answers…";
  const shown = talk ? shown_in(talk) : [];
  const kind = shown.every((it) => it.kind === shown[0].kind) ? shown[0]?.kind : "file";
  const what = shown.length > 1 ? `these ${shown.length} ${kind}s` : `this ${kind}`;
  if (talk?.turns.length) return `Ask a follow-up${shown.length ? ` about ${what}` : ""}…`;
  const { example } = chosen_model() ?? {};
  return what_is_attached() || (example ? `Such as: ${example}` : "Ask anything…");
}

function paint_forecast(busy) {
  const estimate = state.ask.forecast;
  const request = draft();
  const reason = refusal_reason(request);
  const limits = limits_of(chosen_model(), state.ask.attachments);
  const { text, kind } = busy
    ? { text: "", kind: "" }
    : reason
      ? { text: reason === state.ask.note ? "" : reason, kind: "bad" }
      : estimate
        ? verdict(estimate)
        : (held() ?? { text: limits, kind: "" });
  say($("forecast"), text);
  $("forecast").className = `forecast ${kind}`;
  // Not what would be refused as well.
  const code = (!reason && estimate?.refusal?.code) || "context_length_exceeded";
  const paged = can_be_paged(request, code) && !refusal_reason({ ...request, per_page: true });
  $("offer").hidden = busy || kind !== "bad" || !paged;
}

// Why a question to this model would wait, where that is known before anything is typed.
function held() {
  const id = $("model").value;
  const row = state.fleet?.find(({ model }) => model === id);
  const standing = row?.paused ? "paused" : state.standings[id];
  const reason = REASONS[{ loading: "model_loading" }[standing] ?? standing];
  return reason && { text: `${reason}: a question would wait`, kind: "warn" };
}

// Why nothing can be asked so. A key that may not see the models cannot read answers either.
const refusal_reason = (request) =>
  (!state.models && state.errors.models?.message) || objection(request, chosen_model());

// What a conversation was asked of, or a job, once the models are known.
function choose_model() {
  if (!state.models || !state.ask.model) return;
  if (state.models.some(({ id }) => id === state.ask.model)) $("model").value = state.ask.model;
  state.ask.model = "";
}

const chosen_model = () => model_of($("model").value);

function verdict({ outcome, refusal, estimate, waiting_reason, tokens }) {
  if (refusal) return { text: refusal.detail, kind: "bad" };
  if (outcome === "cached") return { text: "Known already: answered at once", kind: "" };
  if (outcome === "joined") return { text: "The same question is being answered", kind: "" };
  const size =
    tokens.prompt &&
    `${number(tokens.prompt)}${tokens.context_length ? ` of ${number(tokens.context_length)}` : ""} tokens`;
  const full = tokens.prompt && tokens.context_length && tokens.prompt >= tokens.context_length;
  if (full) return { text: `Too long: ${size}`, kind: "bad" };
  const begins = estimate
    ? range(estimate).replace(/^s/, "S")
    : `${REASONS[waiting_reason] ?? "Waiting"}: it would wait`;
  const fits = has_document(state.ask.attachments) ? "It fits" : "";
  return { text: [fits, begins, size].filter(Boolean).join(" · "), kind: estimate ? "" : "warn" };
}

function grow() {
  const field = $("question");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

function open(menu) {
  if (state.ask.menu === menu) return;
  state.ask.menu = menu;
  changed();
}

for (const menu of MENUS) action(menu, () => open(state.ask.menu === menu ? null : menu));

action("defaults", () => {
  for (const id of ["max", "temperature"]) $(id).value = "";
  for (const id of ["fresh", "json"]) $(id).checked = false;
  edited();
});

action("again", ({ dataset }) => fill(conversation.turn_of(dataset.turn).request));

// What a document that does not fit is asked instead: in the form, or of a question that was refused.
action("ask-per-page", ({ dataset }) => {
  if (dataset.turn) return send({ ...conversation.turn_of(dataset.turn).request, per_page: true, fresh: false });
  $("per-page").checked = true;
  submit();
});

shortcut((event) => {
  if (event.key !== "Enter" || event.target.id !== "question" || event.shiftKey) return false;
  // An Enter that is held down asks once.
  if (!event.repeat) $("ask-form").requestSubmit();
  return true;
});

shortcut(({ key }) => {
  if (key !== "Escape" || !state.ask.menu) return false;
  const { menu } = state.ask;
  open(null);
  $(`${menu}-open`).focus();
  return true;
});
