"""What waits and who works, as an operator or a scaler sees it."""

from dataclasses import asdict, dataclass
from typing import Any

from shared.estimate import Lane


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
    `drained`: the model takes no new jobs, and none is left, in its line or on the way there.
    """

    lane: Lane
    waiting: dict[str, int]
    oldest_ms: int | None
    workers: tuple[Worker, ...]
    drained: bool = False

    @property
    def backlog(self) -> int:
        """Rows that work is there for: the signal to scale workers by. A paused line does not count."""
        lane = self.lane
        return lane.rows_taken + (0 if lane.paused else lane.queued + lane.extra_queued)

    def to_row(self, model: str) -> dict[str, Any]:
        """The model's row of GET /v1/admin/fleet; ages in seconds."""
        lane = self.lane
        waited = None if self.oldest_ms is None else max(0, lane.now_ms - self.oldest_ms) / 1000
        return {
            "model": model,
            "state": lane.state,
            "reason": lane.failed,
            "paused": lane.paused,
            "draining": lane.draining,
            "drained": self.drained,
            "queued": self.waiting,
            "running": lane.running,
            "backlog": self.backlog,
            "oldest_queued_s": waited,
            "engine": lane.engine,
            "engine_reason": lane.engine_reason,
            "reused": None if lane.reused is None else asdict(lane.reused),
            "workers": [asdict(worker) for worker in self.workers],
        }
