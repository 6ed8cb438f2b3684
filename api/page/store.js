// The page's one store: everything that the page knows, and who paints it.

export const state = {
  view: "ask",
  key: "",
  locked: null, // why the service wants another key
  away_since: null, // Unix seconds; null while the service answers
  broken: null, // what the service says where it answers and yet cannot work
  live: false, // whether the service tells of changes by itself
  following: 0, // jobs whose events come
  models: null,
  standings: {}, // how each model stands for a new question, where the fleet may not be seen
  fleet: null,
  couriers: null,
  open_jobs: null, // how many have not ended, whatever the list shows
  series: null,
  chart: { metric: "waiting", minutes: 15 },
  memory: null,
  health: null,
  errors: {}, // by the name of what was refused
  ask: {
    talks: [],
    talk: null,
    attachments: [], // to the next question
    drafts: new Map(), // what was begun elsewhere, by conversation
    forecast: null,
    typing: 0, // the timer behind which a forecast is asked for
    model: "", // to be chosen
    menu: null, // what is open: pictures, settings or, on a phone, mine
    note: "",
    serial: 0, // numbers pictures, turns and talks
    language: "curl",
  },
  jobs: {
    rows: [],
    page_jobs: [],
    pages_read: false, // whether the jobs of pages are known
    batches: [], // the newest ones, with how much of each is done
    opened: new Set(), // groups whose jobs are shown
    group_counts: new Map(), // how many jobs of a map have each status
    asked_older: 0, // how often older ones were asked for, where groups leave the list short
    older_batches: false, // whether there are more than are looked through for jobs of pages
    shown: [], // both, in the order of the list
    next: null, // what to ask for older ones; null where these are all
    loaded: false,
    read_at: 0, // when the newest ones were read, by the service's clock
    filter: { status: new Set(), model: "", since_s: 0, search: "" },
    typing: 0, // the timer behind which is searched
    counts: null, // how many have each status, as the service told last
    recount: true, // whether the filter has changed since then
    drawn: [], // the first row that is in the document, and the one behind the last
    chosen: new Set(),
    busy: false,
  },
  drawer: { id: null, target: null, tab: "overview" }, // and what drawer.js knows of an opened job
  thumbnails: new Map(),
  keys: { list: null, secret: null, form_open: false, hook_of: null, note: "" }, // hook_of: whose webhook is edited
};

const painters = [];
let frame = 0;

// `paint` shows its part of the page, a part of one view while that is shown; it runs at most once a frame, when something
// has changed.
export const paints = (paint, view = null) => painters.push({ paint, view });

export function changed() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    for (const { paint, view } of painters) if (view === null || view === state.view) paint();
  });
}

// Paints at once what is not shown, too.
export function paint_all() {
  for (const { paint } of painters) paint();
}
