"""Pairs of questions that are the same computation in other words, or differ in exactly one field."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.cache import questions
from benchmarks.cache.changes import CHANGES, Asked
from benchmarks.cache.spelling import respelled

SAME = "nothing"


@dataclass(frozen=True)
class Pair:
    """`what` is the field in which they differ, `nothing` where they are the same."""

    what: str
    one: Asked
    other: Asked


def pairs(count: int, seed: int) -> Iterator[Pair]:
    """One in two differs in nothing; the others take every field in turn."""
    dice = random.Random(seed)  # noqa: S311
    fields = list(CHANGES)
    for number in range(count):
        if number % 2:
            yield differing(dice, fields[number // 2 % len(fields)])
        else:
            one = Asked(questions.drawn(dice))
            yield Pair(SAME, one, replace(one, request=respelled(dice, one.request)))


def differing(dice: random.Random, what: str) -> Pair:
    """In that field; requests are drawn until one has it."""
    while True:
        one = Asked(questions.drawn(dice))
        other = CHANGES[what](dice, one)
        if other is not None:
            return Pair(what, one, other)
