"""Reads a store of this release's layout: a job that is computed holds what a run of `sl7:` did."""

from collections.abc import Collection, Sequence
from typing import Any

from shared.store.keys import INTAKE, PREFIX
from shared.store.transfer import layout_sl7
from shared.store.transfer.layout_sl7 import OF_BATCH, OF_JOB, OF_RUN, Command, Fields, Stored
from shared.store.views import integer

TOLD: dict[Command, Command] = {("HGET", ":ended", "deliveries"): ("HGET", ":ended", "targets")}


class StoreReader(layout_sl7.StoreReader):
    """As that of the first layout. The run of a follower is its leader."""

    prefix = PREFIX
    of_job = tuple(TOLD.get(command, command) for command in OF_JOB)
    of_batch = tuple(TOLD.get(command, command) for command in OF_BATCH)
    of_run = (OF_RUN[0], ("HGETALL", ":answer"), *OF_RUN[1:])

    def _order(self, batches: Collection[str]) -> tuple[list[str], list[str], dict[str, dict[int, str]]]:  # noqa: ARG002
        """A batch finds its lines by their jobs' ids: they need no place of their own."""
        return super()._order(())

    def _run_of(self, id: str, job: Fields) -> str:
        return str(job.get("leader") or (id if "state" in job and job.get("lane") != INTAKE else ""))

    def _run_fields(self, name: str, texts: Sequence[str | None]) -> Fields:
        fields = self._parsed(texts)
        outcome = fields.get("over") or fields
        end = {"state": outcome.get("status"), "end_id": outcome.get("last")}
        end |= {part: outcome[part] for part in ("ended", "error") if part in outcome}
        work = {part: value for part, value in fields.items() if part not in ("ended", "error", "status")}
        return work | {"job": name} | (end if fields.get("state") == "over" else {}) if fields else {}

    def _run(self, name: str, *parts: Any) -> Stored:
        texts, answer, ttl, asked = parts
        fields = self._run_fields(name, [texts.get(part) for part in ("r", "s", "t")])
        kept = integer(fields, "kept")
        gone = kept is not None and kept <= self._now_ms
        return Stored({} if gone else fields, texts | answer, kept or self._moment(ttl), asked or "")

    def _pending(self, told: str | None) -> frozenset[str]:
        return frozenset((told or "").split())
