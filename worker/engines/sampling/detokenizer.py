"""Turns an answer's token ids into pieces of text for readers, and cuts off stop strings before that."""

import time
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import takewhile
from operator import eq
from typing import NamedTuple

from shared.request import Parameters
from shared.result import Candidate, FinishReason, Logprobs, Piece, TokenLogprob
from shared.tool_calls.syntax import overlap
from shared.tool_calls.thoughts import ThoughtReader, read_answer_syntax
from worker.engines.base import Finish, Row

Decode = Callable[[Sequence[int]], str]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Tokens decoded again at each step; decoding all would cost time quadratic in the answer's length.
WINDOW = 16
OVERLAP = 8


def behind_blanks(decode: Decode, blanks: str) -> Decode:
    """A `decode` for tokens after these blanks: the text need not begin with them again."""

    def without(ids: Sequence[int]) -> str:
        text = decode(ids)
        return text[len(list(takewhile(bool, map(eq, text, blanks)))) :]

    return without


class Detokenizer:
    """Extends `settled`, the text that later tokens cannot change; in the end it is what decoding all gives.

    The end of the text may still change: a character whose bytes have not all arrived decodes to U+FFFD, and
    a tokenizer that cleans up spaces rewrites the last few characters (`unsettled`, at most four). `hidden`
    are tokens that `decode` drops; an answer may have thousands of them in a row.
    """

    def __init__(self, decode: Decode, *, hidden: Container[int] = (), unsettled: int = 0) -> None:
        self.settled = ""
        self.reached = 0
        """Whole characters so far, in code points, those included that may still change."""
        self.cut_off = False
        """Whether the finished text lacks a character, because not all of its bytes came."""
        self._decode = decode
        self._hidden = hidden
        self._unsettled = unsettled
        self._head = ""
        self._window: list[int] = []

    def push(self, token: int) -> str:
        """All settled text so far."""
        if token in self._hidden:
            return self.settled
        self._window.append(token)
        text = self._decode(self._window)
        whole = text.rstrip(REPLACEMENT)
        self.reached = len(self._head) + len(whole)
        candidate = self._head + whole[: max(0, len(whole) - self._unsettled)]
        # Otherwise an invalid byte has undone a character before it that readers already have.
        self.settled += candidate[len(self.settled) :]
        if len(self._window) > WINDOW:
            self._slide(text)
        return self.settled

    def finish(self) -> str:
        """The whole text without a character that was cut off at its end.

        A byte-fallback decoder turns a whole run of bytes into U+FFFD if its last character is cut off; what
        readers already have stays.
        """
        text = self._head + self._decode(self._window)
        whole = text.rstrip(REPLACEMENT)
        self.cut_off = len(whole) < len(text)
        self.settled += whole[len(self.settled) :]
        return self.settled

    def _slide(self, text: str) -> None:
        """Forget the oldest tokens if the rest decodes to the same characters without them."""
        rest = self._window[-OVERLAP:]
        tail = self._decode(rest)
        if tail and not tail.startswith(REPLACEMENT) and text.endswith(tail):
            self._head += text[: len(text) - len(tail)]
            self._window = rest


Name = Callable[[int], tuple[str, bytes]]


class Likelihood(NamedTuple):
    """A token's logprob, and the likeliest ids at its place with their logprobs, most probable first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Transcript:
    """Feeds a row's `emit`; made when the row's first step begins.

    Every token of the answer is added, published ones too; those emit nothing. `name` returns a token's text
    and bytes, as `TokenNames` does. `ends` are the model's own tokens that end this row; like the caller's
    they are not part of its text, even if they have one.
    """

    def __init__(
        self,
        row: Row,
        decode: Decode,
        name: Name,
        *,
        ends: Iterable[int] = (),
        hidden: Container[int] = (),
        unsettled: int = 0,
    ) -> None:
        self.ids: list[int] = []
        self._row = row
        self._started = time.monotonic()
        self._stop = tuple(s for s in row.parameters.stop if s)
        self._ends = frozenset([*ends, *(row.parameters.stop_token_ids or ())])
        self._name = name
        self._pending: list[TokenLogprob] | None = None if row.parameters.logprobs is None else []
        self._detokenizer = Detokenizer(decode, hidden=hidden, unsettled=unsettled)
        self._read = len(row.published_text)
        self._sent = len(row.published)
        self._told_sent = 0
        self._end: int | None = None
        self._repeats = False
        marks = read_answer_syntax(row.prompt.syntax).thoughts
        self._thoughts = ThoughtReader(marks) if marks else None
        self._thoughts_read = 0
        self._reasoning = 0

    def add(self, token: int, likelihood: Likelihood | None = None, *, more: bool = False) -> bool:
        """Take the next token; True when it ends the row, or completes a stop string.

        Its text waits for that of `more` tokens which come at the same moment.
        """
        self.ids.append(token)
        if self._pending is not None and likelihood is not None:
            self._pending.append(self._to_logprob(token, likelihood))
            if len(self.ids) == len(self._row.published):
                self._told_sent = self._sent_before(self._read)
        if self._end is not None or token in self._ends:
            return True
        text = self._detokenizer.push(token)
        self._count_thoughts(text)
        self._end = self._first_stop(text)
        # Withheld is what could become a stop string.
        withheld = max((overlap(text, stop) for stop in self._stop), default=0)
        safe = len(text) - withheld if self._end is None else self._end
        if safe > self._read and len(self.ids) > self._sent and not more:
            self._emit(text[self._read : safe], safe)
        self._repeats = repeats(self.ids, self._row.parameters)
        return self._end is not None or self._repeats

    def finish(self, reason: FinishReason, score: float | None = None) -> Finish:
        """Emit what was held back and close the answer; `reason` applies if no end token or stop ended it."""
        text = self._detokenizer.finish()
        if self._end is None:
            self._end = self._first_stop(text)
        if self._end is not None:
            text, reason = text[: self._end], "stop"
        elif self.ids and self.ids[-1] in self._ends:
            reason = "stop"
        elif self._repeats:
            reason = "repetition"
        # Tokens of a character that was cut off begin at the text's end.
        end = len(text) + (self._end is None and self._detokenizer.cut_off)
        if len(text) > self._read or len(self.ids) > self._sent:
            self._emit(text[self._read :], end)
        return Finish(
            reason=reason,
            text=text,
            ids=tuple(self.ids),
            compute_s=time.monotonic() - self._started,
            score=score,
            logprobs=None if self._pending is None else tuple(self._pending[: self._sent_before(end)]),
            began=self._started,
            cut=self._end is not None,
            reasoning_tokens=self._reasoning,
        )

    def _count_thoughts(self, text: str) -> None:
        thoughts = self._thoughts
        if thoughts is None or thoughts.ended or thoughts.over:
            return
        thoughts.feed(text[self._thoughts_read :])
        self._thoughts_read = len(text)
        if thoughts.begun:
            self._reasoning = len(self.ids)

    def _emit(self, text: str, end: int) -> None:
        """`end` is behind the last place where a token begins whose logprobs are told."""
        likelihoods = self._unsent_logprobs(end)
        self._row.emit(
            Piece(start=self._read, text=text, ids=tuple(self.ids[self._sent :]), logprobs=likelihoods)
        )
        self._read += len(text)
        self._sent = len(self.ids)

    def _unsent_logprobs(self, end: int) -> Logprobs | None:
        """The logprobs not yet sent of the tokens whose text begins before `end`."""
        if self._pending is None:
            return None
        since, self._told_sent = self._told_sent, self._sent_before(end)
        return tuple(self._pending[since : self._told_sent])

    def _sent_before(self, end: int) -> int:
        likelihoods = self._pending or []
        return next(
            (n for n in range(self._told_sent, len(likelihoods)) if likelihoods[n].start >= end),
            len(likelihoods),
        )

    def _to_logprob(self, token: int, likelihood: Likelihood) -> TokenLogprob:
        chosen = self._candidate(token, likelihood.logprob)
        top = tuple(self._candidate(*candidate) for candidate in likelihood.top)
        return TokenLogprob(self._detokenizer.reached, chosen, top)

    def _candidate(self, token: int, logprob: float) -> Candidate:
        text, octets = self._name(token)
        return Candidate(text, logprob, None if octets == text.encode() else tuple(octets))

    def _first_stop(self, text: str) -> int | None:
        """Where the first stop string begins; the text that readers have holds no part of one."""
        positions = [at for at in (text.find(s, self._read) for s in self._stop) if at >= 0]
        return min(positions, default=None)


def repeats(ids: Sequence[int], parameters: Parameters) -> bool:
    """Whether the answer's last tokens are one pattern over and over, as `repetition_detection` says."""
    wanted = parameters.repetition_detection
    if wanted is None or len(ids) < (parameters.min_new_tokens or 0):
        return False
    for size in range(wanted.min_pattern_size or 1, wanted.max_pattern_size + 1):
        span = size * wanted.min_count
        if span > len(ids):
            return False
        if ids[-1] == ids[-1 - size] and ids[-span:-size] == ids[size - span :]:
            return True
    return False
