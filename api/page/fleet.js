// Models, their lines and their workers, as operators and the banner speak of them.

import { Resource } from "./resource.js";
import { state } from "./store.js";
import { STANDINGS } from "./words.js";

export const fleet = new Resource(
  "fleet",
  () => "v1/admin/fleet",
  (data) => {
    state.fleet = data?.models ?? null;
    state.couriers = data?.couriers ?? null;
    if (data) state.standings = Object.fromEntries(data.models.map((row) => [row.model, row.state]));
  },
);

// What a key without the scope `admin` may know of the models. A service none of whose models is loaded answers 503.
export const readiness = new Resource(
  "readiness",
  () => "ready",
  (data) => {
    if (!state.fleet) state.standings = data?.models ?? {};
  },
  { accept: [503] },
);

// Paused or draining, if an operator said so; else the workers' state.
export function standing(row) {
  if (row.state === "failed") return STANDINGS.failed;
  if (row.draining) return STANDINGS[row.drained ? "drained" : "draining"];
  if (row.state === "no_worker" && idle(row)) return [row.last_worker ? "No worker" : "No worker yet", "idle"];
  return STANDINGS[row.paused ? "paused" : row.state] ?? [row.state, "idle"];
}

export const waiting = ({ queued }) => queued.interactive + queued.normal + queued.batch;
export const sum_rows = ({ workers }, field) => workers.reduce((sum, worker) => sum + worker[field], 0);

// That nobody serves what nobody waits for is no fault: idle models are scaled to zero.
const idle = (row) => row.queued && waiting(row) === 0;

// The models that answer nobody although they should.
export const wrong = () =>
  (state.fleet ?? []).filter(
    (row) => row.state === "failed" || (row.state === "no_worker" && !idle(row) && !row.draining),
  );

// Whether no courier lives. Before the first one of a new service has come, only if something waits for it.
export function no_courier() {
  if (!state.couriers || state.couriers.workers.length) return false;
  const { last_worker, queued, webhook_calls } = state.couriers;
  return Boolean(last_worker || queued || webhook_calls.due);
}
