"""One answer as it grows: ids in, pieces out, stop strings cut off before any reader sees them."""

import time

from shared.result import FinishReason
from worker.engines.base import Finish, Piece, Row
from worker.engines.detokenizer import Decode, Detokenizer


class Transcript:
    """Feeds a row's `emit`; made when the row's first step begins.

    Every token of the answer is added, published ones too; those emit nothing.
    """

    def __init__(self, row: Row, decode: Decode, *, unsettled: int = 0) -> None:
        self.ids: list[int] = []
        self._row = row
        self._started = time.monotonic()
        self._stop = tuple(s for s in row.parameters.stop if s)
        self._detokenizer = Detokenizer(decode, unsettled=unsettled)
        self._read = len(row.published_text)
        self._sent = len(row.published)
        self._end: int | None = None

    def add(self, token: int) -> bool:
        """Take the next token; True when a stop string is complete and the row is over."""
        self.ids.append(token)
        if self._end is not None:
            return True
        text = self._detokenizer.push(token)
        self._end = self._first_stop(text)
        safe = len(text) - self._held(text) if self._end is None else self._end
        if safe > self._read and len(self.ids) > self._sent:
            self._emit(text[self._read : safe])
        return self._end is not None

    def finish(self, reason: FinishReason, score: float | None = None) -> Finish:
        """Emit what was held back and close the answer."""
        text = self._detokenizer.finish()
        if self._end is None:
            self._end = self._first_stop(text)
        if self._end is not None:
            text, reason = text[: self._end], "stop"
        rest = text[self._read :]
        if rest or len(self.ids) > self._sent:
            self._emit(rest)
        compute_s = time.monotonic() - self._started
        return Finish(reason=reason, text=text, ids=tuple(self.ids), compute_s=compute_s, score=score)

    def _emit(self, text: str) -> None:
        self._row.emit(Piece(start=self._read, text=text, ids=tuple(self.ids[self._sent :])))
        self._read += len(text)
        self._sent = len(self.ids)

    def _first_stop(self, text: str) -> int | None:
        """Where the earliest stop string begins; what readers have holds no beginning of one."""
        found = [at for at in (text.find(s, self._read) for s in self._stop) if at >= 0]
        return min(found, default=None)

    def _held(self, text: str) -> int:
        """Length of the longest end of `text` that could become a stop string."""
        return max((_overlap(text, s) for s in self._stop), default=0)


def _overlap(text: str, stop: str) -> int:
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
