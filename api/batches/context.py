"""What work on batches needs."""

from dataclasses import dataclass

from api.admission.submission import Submission
from api.storing import Storing
from shared.blobs import Blobs
from shared.settings import Settings
from shared.store.script import AsyncStore


@dataclass(frozen=True)
class BatchContext:
    """The parts of one API process that work on batches."""

    settings: Settings
    store: AsyncStore
    blobs: Blobs
    storing: Storing
    submission: Submission

    @property
    def line_limit(self) -> int:
        """Most bytes of one line: a line holds a call's body."""
        return int(self.settings.api.body_limit_mb * 2**20)
