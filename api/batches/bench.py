"""What working on a batch needs, and how a process learns that the batch is no longer its own."""

from dataclasses import dataclass
from typing import TypeVar

from api.admission.submission import Submission
from api.storing import Storing
from shared.batch import Turn
from shared.blobs import Blobs
from shared.settings import Settings
from shared.store.batches import Outcome
from shared.store.script import AsyncStore, Call

T = TypeVar("T")


class LostError(Exception):
    """Another process works on the batch by now, or it has ended."""


@dataclass(frozen=True)
class Bench:
    """The parts of one API process that work on batches."""

    settings: Settings
    store: AsyncStore
    blobs: Blobs
    storing: Storing
    submission: Submission

    @property
    def line_limit(self) -> int:
        """Bytes of one line: a line is a call's body."""
        return int(self.settings.api.body_limit_mb * 2**20)


@dataclass(frozen=True)
class Held:
    """A bench with a batch on it; each call of the store says whether it still is there."""

    bench: Bench
    turn: Turn

    async def read(self, call: Call[T | None]) -> T:
        """Raises LostError, Unavailable."""
        reply = await self.bench.store.run(call)
        if reply is None:
            raise LostError
        return reply

    async def write(self, call: Call[Outcome]) -> None:
        """Raises LostError, Unavailable."""
        if await self.bench.store.run(call) == "lost":
            raise LostError
