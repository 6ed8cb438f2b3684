// An opened job beside the list: pictures or pages, question, answer, timeline, webhook, program and JSON.

import { action, shortcut } from "./actions.js";
import { load } from "./composer.js";
import { confirmed } from "./confirmation.js";
import { $, button, icon, make, settle, toast } from "./dom.js";
import { images_of, PANELS, question_of } from "./job_tabs.js";
import { list, neighbour } from "./jobs.js";
import { keep_page_job, list as page_jobs, save_buttons } from "./page_jobs.js";
import { StreamedText } from "./prose.js";
import { changed, paints, state } from "./store.js";
import { remove_job } from "./talks.js";
import { is_open, STATUSES } from "./words.js";
import { call, events, pause, picture, page_visible } from "./wire.js";

const EVERY_MS = 2000;
const SELDOM_MS = 60_000;
const SHOWN_PX = 512;
const TABS = { overview: "Overview", webhook: "Webhook", program: "Code", json: "JSON" };

export function set_up() {
  window.addEventListener("view", follow_address);
  paints(paint);
}

// #jobs/ID opens a job, any other address closes it.
function follow_address() {
  const { target, id } = state.drawer;
  const job = state.view === "jobs" ? target : null;
  if (!job) close();
  else if (job !== id) open(job);
}

export function close() {
  state.drawer.stop?.abort();
  if (state.drawer.id) Object.assign(state.drawer, { id: null, job: null, target: null });
  changed();
}

async function open(id) {
  close();
  const stop = new AbortController();
  const { tab } = state.drawer;
  const mine = (state.drawer = {
    id,
    target: id,
    tab,
    job: null,
    history: [],
    rows: [], // of a job of pages
    from: 0, // the first one shown
    streamed: new StreamedText(),
    request: undefined, // null where it is not kept
    whole: false, // whether all events of it have come
    pictures: {},
    line: "",
    error: "",
    stop,
  });
  changed();
  requestAnimationFrame(() => $("drawer-title")?.focus());
  if (id.startsWith("job_")) read_request(mine);
  try {
    await follow(mine);
  } catch (error) {
    if (stop.signal.aborted) return;
    mine.error = error.message;
    changed();
  }
}

async function follow(mine) {
  const { signal } = mine.stop;
  mine.job = (await call(`v1/jobs/${mine.id}`, { signal })).data;
  changed();
  watch(mine).catch(() => {}); // The events say how it goes on.
  const report = (line) => ((mine.line = line), changed());
  for await (const event of events(mine.id, signal, report)) {
    mine.history.push(event);
    if (event.type === "page") mine.rows.push(event.data.row);
    if (event.type === "text" && !event.data.choice) mine.streamed.write(event.data.start, event.data.text);
    // The events of an ended job repeat that it ran: its buttons stay where a pointer may be.
    if (event.type === "running" && is_open(mine.job))
      mine.job = { ...mine.job, status: "running", started_at: mine.job.started_at ?? event.data.at };
    show(mine, event.data.job ?? mine.job);
  }
  mine.whole = true;
  changed();
  await reread_while(mine, () => outstanding(mine.job));
}

// Events say nothing of the place in line, nor of the time to the last page.
async function watch(mine) {
  const { signal } = mine.stop;
  const watched = ({ status, pages }) => status === "queued" || (pages && status === "running");
  while (watched(mine.job)) {
    await pause(EVERY_MS, signal);
    if (document.hidden) await page_visible(signal);
    const { data } = await reread(mine, signal);
    if (data && watched(mine.job) && watched(data)) show(mine, data);
  }
}

function show(mine, job) {
  mine.job = job;
  if (job.pages) keep_page_job(job);
  changed();
}

// What was asked, where it is kept, and its pictures, no larger than they are shown.
async function read_request(mine) {
  const { signal } = mine.stop;
  try {
    const { data } = await call(`v1/jobs/${mine.id}/request`, { signal });
    mine.request = data;
    changed();
    for (const { n } of data.pictures) {
      mine.pictures[n] = await picture(`v1/jobs/${mine.id}/pictures/${n}?side=${SHOWN_PX}`, signal);
      changed();
    }
  } catch {
    // It is not kept, or not for this key: the rest says enough.
    mine.request ??= null;
    changed();
  }
}

// A job's webhook hears of the end behind all events; the tries of one that does not answer go on for days.
async function reread_while(mine, waits) {
  const { signal } = mine.stop;
  for (let wait_ms = EVERY_MS; waits(); wait_ms = Math.min(SELDOM_MS, 2 * wait_ms)) {
    if (document.hidden) await page_visible(signal);
    const { data = mine.job, after_ms = 0 } = await reread(mine, signal);
    mine.job = data;
    changed();
    await pause(Math.max(wait_ms, after_ms), signal);
  }
}

// What is sent again is shown once it was, also where the receiver had the job's end before.
async function redeliver() {
  const mine = state.drawer;
  const last_at = () => mine.job.webhook.deliveries.at(-1)?.at;
  const former_at = last_at();
  if (!(await act("POST", "/webhook/redeliver", "Sent again"))) return;
  const waits = () => last_at() === former_at || (mine.job.webhook.next_try_at && !outstanding(mine.job));
  reread_while(mine, waits).catch(() => {}); // Closed, or the job is gone.
}

// The job as it is now; while the service is away, the least time to wait.
async function reread(mine, signal) {
  try {
    const answer = await call(`v1/jobs/${mine.id}`, { signal });
    mine.line = "";
    return answer;
  } catch (error) {
    if (!error.passing) throw error;
    mine.line = error.message;
    changed();
    return error;
  }
}

const outstanding = ({ webhook, status }) =>
  webhook && !webhook.delivered_at && webhook.events.includes(`job.${status}`);

function paint() {
  const { id, job, error, line } = state.drawer;
  $("drawer").hidden = !id;
  $("app").classList.toggle("opened", Boolean(id));
  if (!id) return settle($("drawer"));
  const tabs = Object.entries(TABS).filter(([name]) => !job?.pages || name !== "program");
  const [tab, title] = tabs.find(([name]) => name === state.drawer.tab) ?? tabs[0];
  settle(
    $("drawer"),
    header(id, job),
    make(
      "div",
      { class: "tabs", role: "tablist", "aria-label": "About this job" },
      tabs.map(([name, words]) => tab_button(name, words, name === tab)),
    ),
    make(
      "div",
      {
        class: "panel",
        id: "panel",
        role: "tabpanel",
        tabindex: 0,
        "data-key": `${id} ${tab}`,
        "aria-label": title,
      },
      error && make("p", { class: "failure" }, error),
      line && make("p", { class: "note", role: "status" }, line),
      job && PANELS[tab](job),
    ),
    job && make("footer", {}, acts(job)),
  );
}

function header(id, job) {
  const [word, kind] = job ? STATUSES[job.status] : ["Reading", "idle"];
  const quick = (name, attributes, sign) => button(name, { class: "ghost small square", ...attributes }, icon(sign));
  return make(
    "header",
    {},
    make("h2", { id: "drawer-title", tabindex: -1 }, make("span", { class: `state ${kind}` }, word)),
    make("code", { class: "muted", title: id }, id),
    make(
      "span",
      { class: "acts" },
      quick("copy", { "data-text": id, "aria-label": "Copy the id" }, "copy"),
      quick("step", { "data-by": -1, "aria-label": "Newer job (k)" }, "newer"),
      quick("step", { "data-by": 1, "aria-label": "Older job (j)" }, "older"),
      quick("close", { "aria-label": "Close (Esc)" }, "close"),
    ),
  );
}

function tab_button(id, name, selected) {
  const calls_made = id === "webhook" && state.drawer.job?.webhook?.deliveries?.length;
  return button(
    "tab",
    {
      class: "",
      role: "tab",
      "data-tab": id,
      "aria-selected": String(selected),
      "aria-controls": "panel",
      tabindex: selected ? 0 : -1,
    },
    name,
    calls_made > 0 && ` · ${calls_made}`,
  );
}

function acts(job) {
  const cancel = is_open(job) && button("cancel-job", { class: "quiet danger" }, "Cancel this job");
  // A file of some pages would look like one of all, once the job has ended.
  if (job.pages) return [cancel, state.drawer.rows.length > 0 && (cancel || state.drawer.whole) && save_buttons()];
  if (cancel) return cancel;
  return [
    button("retry-job", { class: "primary" }, icon("again"), "Ask again"),
    editable(state.drawer.request) && button("edit-job", { class: "quiet" }, "Change and ask…"),
    button("delete-job", { class: "quiet danger" }, "Delete"),
  ];
}

function step(by) {
  const id = neighbour(state.drawer.id, by);
  if (id) location.hash = `jobs/${id}`;
}

// A refusal leaves the job as it is shown.
async function act(method, path, words) {
  const { id } = state.drawer;
  try {
    const { data } = await call(`v1/jobs/${id}${path}`, { method });
    toast(words);
    page_jobs.due = 0;
    for (const resource of [list, page_jobs]) resource.refresh();
    return data ?? {};
  } catch (error) {
    toast(`Refused: ${error.message}`);
    return null;
  }
}

// Whether the form can hold all that was asked.
function editable(request) {
  if (request?.messages.length !== 1 || request.tools) return false;
  const { max_new_tokens, temperature, structured_outputs, ...more } = request.parameters ?? {};
  if (Object.keys(more).length || (structured_outputs && !structured_outputs.json)) return false;
  const [{ content }] = request.messages;
  return typeof content === "string" || content.every(({ type }) => ["text", "image"].includes(type));
}

// Pictures are asked about again as they were sent.
function edit() {
  const { job, request } = state.drawer;
  const { priority, model } = job;
  const former = images_of(request.messages.at(-1)).map(({ n, url }) => ({
    name: url ?? `picture ${n + 1}`,
    kind: "picture",
    url,
    ready: url ? Promise.resolve(url) : picture(`v1/jobs/${job.id}/pictures/${n}`),
  }));
  load({
    question: question_of(request),
    attachments: former,
    model,
    priority,
    fresh: false,
    parameters: request.parameters ?? {},
  });
}

action("close", () => (location.hash = "jobs"));
action("step", ({ dataset }) => step(Number(dataset.by)));
action("tab", ({ dataset }) => ((state.drawer.tab = dataset.tab), changed()));
action("edit-job", edit);
action("cancel-job", () => act("POST", "/cancel", "Cancelled"));
action("redeliver", redeliver);
action("retry-job", async () => {
  const job = await act("POST", "/retry", "Asked again");
  if (job) location.hash = `jobs/${job.id}`;
});
action("delete-job", async () => {
  const sure = await confirmed("Delete this job and its answer?", "Delete");
  const { id } = state.drawer;
  if (!sure || !(await act("DELETE", "", "Deleted"))) return;
  remove_job(id);
  location.hash = "jobs";
});

shortcut(({ key }) => {
  if (key !== "Escape" || !state.drawer.id) return false;
  const { id } = state.drawer;
  location.hash = "jobs";
  document.querySelector(`.job-row[data-job="${id}"] a`)?.focus();
  return true;
});
