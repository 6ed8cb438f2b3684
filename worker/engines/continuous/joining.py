"""The prompts that are being computed, in the order in which they came, and which of them share a pass."""

from dataclasses import dataclass

from worker.engines.continuous import joint
from worker.engines.continuous.answer import Answer, Kin
from worker.engines.continuous.pace import Room
from worker.engines.continuous.prefill import Prefill, Prefilled

# Columns that rows with little behind them may attend to for nothing, for the sake of one with more.
HOLE = 256


@dataclass(frozen=True, eq=False)
class Newcomer:
    """An answer whose prompt is made ready, or computed in part."""

    answer: Answer
    prefill: Prefill


@dataclass(frozen=True)
class Pass:
    """Newcomers that are computed up to `ends`."""

    newcomers: list[Newcomer]
    ends: list[int]

    @property
    def tokens(self) -> int:
        """Those that are computed, also to no purpose; before it is."""
        lengths = [end - one.prefill.done for one, end in zip(self.newcomers, self.ends, strict=True)]
        return len(lengths) * max(lengths)

    def compute(self) -> list[Prefilled | None]:
        """What each has come to. Raises whatever the model raises on any of them."""
        prefills = [newcomer.prefill for newcomer in self.newcomers]
        if len(prefills) == 1:
            return [prefills[0].advance(self.tokens)]
        return joint.advance(prefills, self.ends)


@dataclass(frozen=True)
class Forked:
    """A prompt that was computed for one of its rows, while others wait for room."""

    kin: Kin
    prefill: Prefill
    prefilled: Prefilled


class Joining:
    """At most `rows` share a pass."""

    def __init__(self, rows: int) -> None:
        self.newcomers: list[Newcomer] = []
        self.rows = rows

    @property
    def answers(self) -> list[Answer]:
        return [newcomer.answer for newcomer in self.newcomers]

    @property
    def tokens(self) -> int:
        """Those that are left to compute."""
        return sum(newcomer.prefill.length - newcomer.prefill.done for newcomer in self.newcomers)

    def add(self, answer: Answer, prefill: Prefill) -> None:
        self.newcomers.append(Newcomer(answer, prefill))

    def shrink(self, rows: int) -> None:
        self.rows = max(1, min(self.rows, rows))

    def remove(self, answer: Answer) -> None:
        self.newcomers = [newcomer for newcomer in self.newcomers if newcomer.answer is not answer]

    def clear(self) -> list[Answer]:
        answers, self.newcomers = self.answers, []
        return answers

    def next(self, room: Room) -> Pass:
        """The first of all, and as many others as there is room for."""
        first, *others = self.newcomers
        chosen = Pass([first], [_end(first.prefill, room)])
        for other in others:
            # Where the first leaves room, another's piece may be a part of what it would be by itself.
            each = room.chunk and min(room.chunk, room.tokens // (len(chosen.ends) + 1))
            end = other.prefill.end(each)
            more = Pass([*chosen.newcomers, other], [*chosen.ends, end])
            if len(more.ends) <= self.rows and _fits(more, room):
                chosen = more
        return chosen


def _end(prefill: Prefill, room: Room) -> int:
    end = prefill.end(room.chunk)
    return prefill.length if prefill.length - end <= room.scraps else end


def _fits(together: Pass, room: Room) -> bool:
    first, *_, last = prefills = [newcomer.prefill for newcomer in together.newcomers]
    starts = [prefill.done for prefill in prefills]
    return (
        first.joins(last)
        and together.tokens <= room.tokens
        and together.tokens - (sum(together.ends) - sum(starts)) <= room.idle
        and max(starts) - min(starts) <= HOLE
    )
