"""Checks that each model has workers, and that they take the jobs that wait."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.models import Model
from sightline.doctor.check import Check, ok, problem, warning
from sightline.doctor.running import Row

LONG_S = 60.0
"""A job that has waited so long although a row is free is not being taken."""


def checks(rows: Sequence[Row]) -> Iterator[Check]:
    """A finding for each model, and one more where its workers do not have the same weights."""
    for row in rows:
        yield _check_workers(row)
        yield from _check_weights(row)


def check_unserved(models: Sequence[Model], rows: Sequence[Row]) -> Iterator[Check]:
    """Models in the models file that the running service does not serve."""
    served = {row["model"] for row in rows}
    for id in [model.id for model in models if model.id not in served]:
        finding = "the models file has it, the service does not serve it: removed, or newer than the start"
        yield warning(f"workers of {id}", finding, f"sightline models add FILE --model {id}")


def check_unnamed(queues: Mapping[str, int]) -> Iterator[Check]:
    """Queues, with how many jobs wait there, of models that left the models file before their jobs ended."""
    for lane, waiting in queues.items():
        finding = f"{waiting} jobs wait for a model that neither the models file nor an operator names"
        fix = (
            "serve it again: sightline models add FILE --model ID, and start a worker; "
            "or then end them: sightline models remove ID"
        )
        yield problem(f"queue {lane}", finding, fix)


def check_couriers(count: int) -> Check:
    if count:
        return ok("couriers", f"{count} at work")
    fix = "start one: sightline courier"
    return problem("couriers", "none: nothing is fetched, rescued or told to webhooks", fix)


def unknown() -> Check:
    """Replaces the other findings where workers cannot renew their entries in the record store."""
    finding = "not known: who lives is told by the record store, which does not answer, or takes no writes"
    return warning("workers", finding, "mend the record store: those that live go on by themselves")


def _check_workers(row: Row) -> Check:
    about, waiting = f"workers of {row['model']}", sum(row["queued"].values())
    workers: list[dict[str, Any]] = row["workers"]
    ready = [worker for worker in workers if worker["state"] == "ready"]
    if row["state"] == "failed":
        fix = "correct the model's folder or entry: in the models file, or by sightline models remove and add"
        return problem(about, f"the model cannot be loaded: {row['reason']}", fix)
    if row["state"] == "cold":
        return ok(about, f"none: a node loads the model when it is asked for; {waiting} wait")
    if not workers:
        fix = f"start one: SIGHTLINE_WORKER__MODEL={row['model']} sightline worker"
        return (
            problem(about, f"none, and {waiting} jobs wait", fix) if waiting else warning(about, "none", fix)
        )
    if not ready:
        return warning(about, f"{len(workers)} loading the model", "wait; GET /status/MODEL says how long")
    rows, busy = (sum(worker[name] for worker in ready) for name in ("rows", "busy"))
    finding = f"{len(ready)} ready, work for {busy} rows on {rows}, {waiting} wait"
    if row["paused"]:
        return warning(about, f"{finding}; the model is paused", f"sightline models resume {row['model']}")
    if waiting and (row["oldest_queued_s"] or 0) > LONG_S and busy < rows:
        fix = f"restart {_named(ready)}; see its log"
        return problem(
            about, f"{finding}, the first for {row['oldest_queued_s']:.0f} s, beside free rows", fix
        )
    return ok(about, finding)


def _check_weights(row: Row) -> Iterator[Check]:
    """Older workers and APIs report no fingerprints."""
    by_digest: dict[str, list[str]] = {}
    for worker in row["workers"]:
        if name := worker.get("fingerprint"):
            by_digest.setdefault(name[:8], []).append(_name(worker))
    if len(by_digest) > 1:
        finding = "; ".join(f"{name} has {', '.join(workers)}" for name, workers in by_digest.items())
        fix = "have all load the same weights, release and options, and restart those that differ"
        about = f"weights of {row['model']}"
        yield warning(about, f"its workers answer differently, and share no cached answers: {finding}", fix)


def _name(worker: dict[str, Any]) -> str:
    return f"process {worker['pid']} on {worker['host']}"


def _named(workers: Sequence[dict[str, Any]]) -> str:
    return ", ".join(_name(worker) for worker in workers if worker["busy"] < worker["rows"])
