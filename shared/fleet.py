"""What waits and who works, as an operator or a scaler sees it."""

from dataclasses import asdict, dataclass
from typing import Any

from shared.estimate import Lane, loading_time


@dataclass(frozen=True)
class Worker:
    """One worker process. Fields that it has not reported yet are 0 or empty.

    `state` is ready or loading, `since` in Unix seconds, `memory` in bytes. `busy` counts the rows that its
    runs take, `tokens_per_s` is over the last ten seconds.
    """

    id: str
    state: str
    host: str = ""
    pid: int = 0
    since: float = 0.0
    rows: int = 0
    busy: int = 0
    memory: int = 0
    tokens_per_s: float = 0.0
    fingerprint: str = ""


@dataclass(frozen=True)
class Fleet:
    """One model's line and workers.

    `waiting` counts by class. `oldest_ms` is since when (Unix ms) the oldest waits, None where none does.
    `drained`: the model takes no new jobs, and none is left, in its line or on the way there. `given_back`
    counts runs of the last quarter of an hour whose workers vanished. `wanted_ms` is when a caller was last
    refused since no worker was ready, None where that is a minute ago or one was ready since.
    """

    lane: Lane
    waiting: dict[str, int]
    oldest_ms: int | None
    workers: tuple[Worker, ...]
    drained: bool = False
    given_back: int = 0
    wanted_ms: int | None = None

    @property
    def backlog(self) -> int:
        """Rows that work is there for: the signal to scale workers by. A paused line does not count.

        Callers who were refused for want of a worker count as one: they ask again.
        """
        lane = self.lane
        waiting = lane.queued + lane.extra_queued + (self.wanted_ms is not None and not lane.ready)
        return lane.rows_taken + (0 if lane.paused else waiting)

    def to_row(self, model: str, load_guess_s: float = 1.0) -> dict[str, Any]:
        """The model's row of GET /v1/admin/fleet; ages in seconds."""
        lane, last = self.lane, self.lane.last_worker
        waited = None if self.oldest_ms is None else max(0, lane.now_ms - self.oldest_ms) / 1000
        return {
            "model": model,
            "state": lane.state,
            "reason": lane.failed,
            "residency": residency(lane, load_guess_s),
            "paused": lane.paused,
            "paused_at": _seconds(lane.paused_at_ms),
            "paused_by": lane.paused_by,
            "draining": lane.draining,
            "draining_at": _seconds(lane.draining_at_ms),
            "draining_by": lane.draining_by,
            "drained": self.drained,
            "queued": self.waiting,
            "running": lane.running,
            "backlog": self.backlog,
            "oldest_queued_s": waited,
            "engine": lane.engine,
            "engine_reason": lane.engine_reason,
            "workers": [asdict(worker) for worker in self.workers],
            "last_worker": last and {"id": last.id, "host": last.host, "seen_at": last.seen_ms / 1000},
            "given_back": self.given_back,
        }


def residency(lane: Lane, load_guess_s: float) -> dict[str, Any]:
    """Whether the model is loaded, since when, seconds until it is, why it was unloaded or cannot be loaded.

    `load_guess_s` stands in where no load was measured.
    """
    state = lane.state
    since = {"ready": lane.resident_ms, "loading": lane.load_started_ms, "cold": lane.unloaded_ms}
    return {
        "state": "resident" if state == "ready" else state,
        "since": _seconds(since.get(state)),
        "estimated_time": round(loading_time(lane, load_guess_s)[0], 3),
        "reason": {"failed": lane.failed, "cold": lane.unloaded}.get(state),
    }


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
