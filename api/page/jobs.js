// The jobs as questions and answers. Only the rows in sight are in the document, however many there are.

import { action, is_typed, shortcut } from "./actions.js";
import { $, button, icon, make, say, settle, toast } from "./dom.js";
import { count_groups, group_row, grouped } from "./job_groups.js";
import { row } from "./job_row.js";
import { choosable, keep_page_job, LISTED, list as page_jobs, shown_jobs } from "./page_jobs.js";
import { Resource } from "./resource.js";
import { code_box } from "./snippets.js";
import { changed, paints, state } from "./store.js";
import { ago, is_open, now, number, plural, STATUSES } from "./words.js";
import { call } from "./wire.js";

const PAGE = 100;
const BEYOND = 8; // rows drawn above and below the window
const TYPING_MS = 300;
const AT_ONCE = 100; // jobs that one call cancels
const MOST = 1000; // rows read before somebody asks for more, where groups leave the list short
const NONE = {
  queued: "Nothing is waiting",
  running: "Nothing is being answered",
  succeeded: "Nothing is done yet",
  failed: "Nothing has failed",
  cancelled: "Nothing was cancelled",
};
const legend = (word, kind) => make("span", { class: "key" }, make("i", { class: kind }), word);
const COLUMNS = {
  state: () => "Status",
  by: () => "Model and priority",
  spent: () => [legend("Waited", ""), legend("ran", "ran")],
  when: () => "When",
};

// The list as main.js refreshes it: its newest page, and the rows in sight.
export const list = {
  name: "jobs",
  turn: null,
  refused: false,
  async refresh() {
    if (this.refused) return false;
    this.turn?.abort();
    const { signal } = (this.turn = new AbortController());
    try {
      const changes = [await read(null, signal)];
      const first = state.jobs.shown.slice(0, in_sight()[0]).findLast(({ pages }) => !pages);
      if (first && in_sight()[1] > PAGE) changes.push(await read(first.id, signal));
      state.errors.jobs = null;
      // A list of some statuses does not show what changes among the others.
      const anew = changes.some(Boolean) || state.jobs.recount;
      if (anew || state.jobs.filter.status.size) await counts.refresh();
      state.jobs.recount = Boolean(state.errors.counts);
      await count_groups(anew, signal).catch(() => (state.jobs.recount = true));
      return changes.some(Boolean);
    } catch (error) {
      if (signal.aborted) return false;
      if ([401, 403].includes(error.status)) this.forget();
      this.refused = error.code === "insufficient_scope";
      state.errors.jobs = error;
      changed();
      return false;
    }
  },
  forget() {
    this.turn?.abort();
    this.refused = false;
    state.errors.jobs = null;
    counts.forget();
    reset();
  },
};

// How many have each status: asked for again when the list has changed.
const counts = new Resource(
  "counts",
  () => `v1/jobs/counts?${narrowed()}`,
  (data) => (state.jobs.counts = data),
);

// How many have not ended, for the menu.
export const open_jobs = new Resource(
  "open_jobs",
  () => "v1/jobs/counts",
  (data) => (state.open_jobs = data),
  { every_ms: 5000 },
);

function reset() {
  Object.assign(state.jobs, { rows: [], shown: [], next: null, loaded: false, busy: false, recount: true });
  for (const kept of ["chosen", "opened", "group_counts"]) state.jobs[kept].clear();
  state.jobs.asked_older = 0;
  $("view-jobs").scrollTop = 0;
  changed();
}

function path(after) {
  const query = narrowed();
  query.set("limit", PAGE);
  query.set("results", false);
  for (const one of state.jobs.filter.status) query.append("status", one);
  if (after) query.set("after", after);
  return `v1/jobs?${query}`;
}

// The filter, but for the statuses.
function narrowed() {
  const { model, since_s, search } = state.jobs.filter;
  const query = new URLSearchParams();
  if (model) query.set("model", model);
  if (since_s) query.set("created_after", Math.floor(now() - since_s));
  if (/^[^=\s]+=/.test(search)) query.append("metadata", search);
  else if (search) query.set("search", search);
  return query;
}

// When the last job was created that a page looked at, wanted or not: its cursor begins with that.
const reach = (cursor) => (cursor === null ? -Infinity : Number.parseFloat(cursor) / 1000);

// A page of jobs, put in place of what was known of its span. Whether it says something new.
async function read(after, signal) {
  const { data: page, headers } = await call(path(after), { signal });
  if (signal.aborted) return false;
  const { rows, next, loaded, read_at } = state.jobs;
  const begin = after ? rows.findIndex(({ id }) => id === after) + 1 : 0;
  // What stood before it has been read anew: it would be put in the place of that.
  if (after && !begin) return false;
  const end = reach(page.next);
  const ids = new Set(page.data.map(({ id }) => id));
  // More jobs came since the last page than this one has: what is older is read again.
  const gap = !after && end > read_at;
  const stays = ({ id, created_at }) => !gap && created_at <= end && !ids.has(id);
  const tail = rows.slice(begin);
  state.jobs.rows = [...rows.slice(0, begin), ...page.data, ...tail.filter(stays)];
  if (!loaded || gap || reach(next) > end) state.jobs.next = page.next;
  if (!after) state.jobs.read_at = Date.parse(headers.get("date")) / 1000;
  state.jobs.loaded = true;
  // Thousands of rows that stay are not compared.
  if (JSON.stringify(page.data) === JSON.stringify(tail.filter((row) => !stays(row)))) return false;
  changed();
  return true;
}

// The rest comes as it is scrolled to.
async function read_older() {
  const { next, busy } = state.jobs;
  if (!next || busy || !list.turn) return;
  state.jobs.busy = true;
  const { signal } = list.turn;
  try {
    const { data: page } = await call(path(next), { signal });
    if (state.jobs.next !== next) return;
    const known = new Set(state.jobs.rows.map(({ id }) => id));
    state.jobs.rows = [...state.jobs.rows, ...page.data.filter(({ id }) => !known.has(id))];
    state.jobs.next = page.next;
  } catch {
    // The next scroll, or the next round, tries again.
  } finally {
    state.jobs.busy = false;
    changed();
  }
}

export function set_up() {
  $("view-jobs").addEventListener("scroll", scrolled, { passive: true });
  window.addEventListener("resize", changed);
  $("search").addEventListener("input", () => {
    clearTimeout(state.jobs.typing);
    state.jobs.typing = setTimeout(search, TYPING_MS);
  });
  $("by-model").addEventListener("change", () => narrow({ model: $("by-model").value }));
  $("by-time").addEventListener("change", () => narrow({ since_s: Number($("by-time").value) }));
  paints(paint, "jobs");
}

const search = () => narrow({ search: $("search").value.trim() });

export function empty_filter() {
  clearTimeout(state.jobs.typing);
  for (const id of ["search", "by-model"]) $(id).value = "";
  $("by-time").value = "0";
  state.jobs.filter = { status: new Set(), model: "", since_s: 0, search: "" };
}

function narrow(filter) {
  Object.assign(state.jobs.filter, filter);
  reset();
  list.refresh();
}

const row_height = () => (matchMedia("(max-width: 860px)").matches ? 108 : 66);

// At most once a frame.
function scrolled() {
  if (!in_sight().every((row, at) => row === state.jobs.drawn[at])) paint_rows();
}

function paint_rows() {
  const { shown } = state.jobs;
  const [first, end] = (state.jobs.drawn = in_sight());
  const present = new Map([...$("job-list").children].map((node) => [node.dataset.key, node]));
  settle(
    $("job-list"),
    shown.slice(first, end).map((job, at) => fresh_row(job, first + at, present.get(job.id))),
  );
  if (end > shown.length - PAGE / 2 && !is_short()) read_older();
}

const drawn_of = new WeakMap(); // a row in the document: what it was drawn of

// A row that would look the same is not made anew: whatever changes elsewhere, scrolling stays smooth.
function fresh_row(job, at, node) {
  const { chosen } = state.jobs;
  const time = is_open(job) ? Math.floor(now()) : ago(job.ended_at);
  const facts = [job, at, time, chosen.has(job.id), state.drawer.id === job.id, state.thumbnails.get(job.id)];
  if (node && drawn_of.get(node)?.every((fact, which) => fact === facts[which])) return node;
  const fresh = (job.members ? group_row : row)(job, at);
  drawn_of.set(node ?? fresh, facts);
  return fresh;
}

// A group of thousands must not be read through for what may stand behind it.
function is_short() {
  const { next, rows, shown, asked_older } = state.jobs;
  return next && rows.length >= MOST * (1 + asked_older) && shown.length < PAGE;
}

// The first row in sight and the one behind the last.
function in_sight() {
  const view = $("view-jobs");
  const top = view.scrollTop - $("job-list").offsetTop;
  const height = row_height();
  const first = Math.max(0, Math.floor(top / height) - BEYOND);
  return [first, Math.min(state.jobs.shown.length, Math.ceil((top + view.clientHeight) / height) + BEYOND)];
}

function paint() {
  const { rows, loaded, next, filter } = state.jobs;
  const error = state.errors.jobs;
  const shown = (state.jobs.shown = grouped(shown_jobs()));
  say($("jobs-note"), error?.status && error.status !== 401 ? error.message : "");
  settle(
    $("by-status"),
    [["", "All"], ...Object.entries(STATUSES).map(([id, [name]]) => [id, name])].map(status_button),
  );
  $("clear").hidden = !narrows(filter) || !shown.length;
  settle($("columns"), shown.length ? columns() : []);
  $("job-list").style.height = shown.length ? `${shown.length * row_height()}px` : "auto";
  if (shown.length) paint_rows();
  else {
    const whole = loaded && !next && (state.jobs.pages_read || state.errors.page_jobs);
    settle($("job-list"), whole ? nothing(filter) : error ? [] : make("p", { class: "muted teach" }, "Reading…"));
  }
  const older = loaded && !next && state.jobs.older_batches;
  settle(
    $("older-batches"),
    loaded && next && shown.length > 0 && "Scroll for older ones",
    older && `Jobs of pages are looked for among the newest ${LISTED} batches.`,
    is_short() && button("older-jobs", {}, "Look for older jobs"),
  );
  // A page may be empty and yet not the last: a filter looks through so many jobs at a time.
  if (!rows.length && next) read_older();
  settle($("bulk"), bulk());
}

function columns() {
  const some = state.jobs.shown.filter(choosable);
  const all = some.every(({ id }) => state.jobs.chosen.has(id));
  return make(
    "div",
    { class: "columns" },
    make(
      "label",
      { class: "tick" },
      some.length > 0 &&
        make("input", {
          type: "checkbox",
          "data-do": all ? "choose-none" : "choose-all",
          checked: all,
          "aria-label": "Choose all shown",
        }),
    ),
    make("span", { class: "words" }, "Question and answer"),
    Object.entries(COLUMNS).map(([name, words]) => make("span", { class: name }, words())),
  );
}

function status_button([id, name]) {
  const { status } = state.jobs.filter;
  return button(
    "status",
    { class: "", "data-status": id, "aria-pressed": String(id ? status.has(id) : !status.size) },
    name,
    counted(id),
  );
}

const narrows = ({ status, model, since_s, search }) => Boolean(status.size || model || since_s || search);

// The service counts the newest jobs only: of more, a number is the least there are.
function counted(status) {
  const { counts: by_status = {}, complete = true } = state.jobs.counts ?? {};
  const count = status ? by_status[status] : Object.values(by_status).reduce((all, one) => all + one, 0);
  const shown = state.jobs.counts && (count > 0 || !status);
  return [" ", make("small", {}, shown && number(count) + (complete ? "" : "+"))];
}

function nothing({ status, model, since_s, search }) {
  const quiet = status.size === 1 && !model && !since_s && !search && NONE[[...status][0]];
  const all = button("clear", { class: "link" }, "Show all jobs");
  if (quiet) return make("div", { class: "teach" }, make("h2", {}, quiet), make("p", {}, all));
  if (narrows(state.jobs.filter)) {
    return make(
      "div",
      { class: "teach" },
      make("h2", {}, "Nothing matches"),
      make("p", {}, "Search by words of a question, an id or metadata, such as order=6735. "),
      all,
    );
  }
  const example = `curl ${location.origin}/v1/jobs -d '{\n  "input": {"prompt": "What is a job?"}\n}'`;
  return make(
    "div",
    { class: "teach" },
    make("h2", {}, "No jobs yet"),
    make(
      "p",
      {},
      "A job is a question that is answered when there is room, and kept until you delete it. ",
      make("a", { href: "#ask" }, "Ask one"),
      " on this page, or from a terminal:",
    ),
    code_box(make("b", {}, "curl"), example),
  );
}

function bulk() {
  const chosen = chosen_rows();
  if (!chosen.length) return [];
  const open = chosen.filter(is_open).length;
  return make(
    "div",
    { class: "bulk", role: "region", "aria-label": "Chosen jobs" },
    make("b", {}, `${number(chosen.length)} chosen`),
    button(
      "cancel-chosen",
      { class: "quiet small danger", disabled: !open },
      open ? `Cancel ${number(open)}` : "Cancel",
    ),
    button(
      "retry-chosen",
      { disabled: open === chosen.length },
      open === chosen.length ? "Ask again" : `Ask ${number(chosen.length - open)} again`,
    ),
    button("copy", { "data-text": chosen.map(({ id }) => id).join("\n") }, "Copy ids"),
    button("choose-none", { class: "ghost small square", "aria-label": "Choose none" }, icon("close")),
  );
}

// Of a group, those that can be cancelled; some of them may have been chosen by themselves, too.
function chosen_rows() {
  const chosen = state.jobs.shown.filter((job) => state.jobs.chosen.has(job.id) && choosable(job));
  return [...new Set(chosen.flatMap((job) => job.open ?? [job]))];
}

async function cancel_chosen() {
  const open = chosen_rows().filter(is_open);
  const ids = open.filter(({ pages, batch }) => !pages && !batch).map(({ id }) => id);
  let done = 0;
  // A job of pages is cancelled by itself, and before its pages, or it would end as one whose pages failed.
  for (const { id } of open.filter(({ pages }) => pages)) {
    keep_page_job((await call(`v1/jobs/${id}/cancel`, { method: "POST" })).data);
    done++;
  }
  for (const { id, left } of open.filter(({ batch }) => batch)) {
    await call(`v1/batches/${id}/cancel`, { method: "POST" });
    done += left;
  }
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const { data } = await call("v1/jobs/cancel", { method: "POST", body: { ids: ids.slice(at, at + AT_ONCE) } });
    done += data.data.filter(({ error }) => !error).length;
  }
  const map = open.some(({ metadata }) => metadata?.map) ? "; a map's command goes on: stop it there" : "";
  return `${plural(done, "job")} cancelled${map}`;
}

async function retry_chosen() {
  const ended = chosen_rows().filter((job) => !is_open(job));
  for (const { id } of ended) {
    await call(`v1/jobs/${id}/retry`, { method: "POST" });
    // Should a later one be refused, the next try leaves this one out.
    state.jobs.chosen.delete(id);
  }
  return `${plural(ended.length, "job")} asked again`;
}

async function report(work) {
  try {
    toast(await work());
    state.jobs.chosen.clear();
  } catch (error) {
    toast(error.message);
  }
  page_jobs.due = 0;
  for (const resource of [list, page_jobs]) resource.refresh();
}

// The job next to this one in the list, if any; `by` is 1 for an older one.
export function neighbour(id, by) {
  const { shown } = state.jobs;
  let at = shown.findIndex((job) => job.id === id);
  do at += at < 0 ? 1 : by;
  while (shown[at]?.members);
  const job = shown[at];
  if (!job) return null;
  const view = $("view-jobs");
  const top = $("job-list").offsetTop + at * row_height();
  if (top < view.scrollTop || top + row_height() > view.scrollTop + view.clientHeight)
    view.scrollTop = top - view.clientHeight / 2;
  return job.id;
}

action("pass", () => {});
action("open", ({ dataset }) => (location.hash = `jobs/${dataset.job}`));
action("choose-job", ({ checked, dataset }) => (state.jobs.chosen[checked ? "add" : "delete"](dataset.job), changed()));
action("choose-all", () => {
  for (const { id } of state.jobs.shown.filter(choosable)) state.jobs.chosen.add(id);
  changed();
});
action("older-jobs", () => (state.jobs.asked_older++, changed()));
action("choose-none", () => (state.jobs.chosen.clear(), changed()));
action("cancel-chosen", () => report(cancel_chosen));
action("retry-chosen", () => report(retry_chosen));
// A click chooses one, with Ctrl or Shift, or a finger, one more.
action("status", ({ dataset: { status: one } }, { ctrlKey, metaKey, shiftKey }) => {
  const { status: former } = state.jobs.filter;
  const further = ctrlKey || metaKey || shiftKey || matchMedia("(pointer: coarse)").matches;
  const status = new Set(one && further ? former : []);
  if (one && !former.has(one)) status.add(one);
  else status.delete(one);
  narrow({ status });
});
action("clear", () => (empty_filter(), narrow({})));

// j and k go through the list; what is open stays open.
shortcut((event) => {
  if (state.view !== "jobs" || is_typed(event) || !["j", "k"].includes(event.key)) return false;
  const id = neighbour(state.drawer.id, event.key === "j" ? 1 : -1);
  if (id) location.hash = `jobs/${id}`;
  return true;
});
