"""What every engine does with several answers to one prompt, as checks beside those of the suite."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.result import Piece
from tests.engines import suite
from worker.engines.base import Cancelled, Row

DRAWN: dict[str, Any] = {"seed": 3, "min_new_tokens": 12, "max_new_tokens": 16}


def rows(harness: suite.Harness, n: int = 3, **parameters: Any) -> list[Row]:
    """Of one prompt, as an attempt makes them."""
    drawn = {**DRAWN, "temperature": min(4.0, harness.hot), **parameters}
    row = harness.row(harness.question, [suite.picture()], **drawn)
    return [replace(row, parameters=row.parameters.of_choice(number)) for number in range(n)]


def heard(several: Sequence[Row]) -> tuple[list[Row], list[list[Piece]]]:
    """The same rows, and where the pieces of each will be."""
    pieces: list[list[Piece]] = [[] for _ in several]
    return [replace(row, emit=said.append) for row, said in zip(several, pieces, strict=True)], pieces


def each_answer_is_the_one_it_would_be_alone(harness: suite.Harness) -> None:
    several, pieces = heard(rows(harness))
    finishes = harness.engine.generate_all(several)
    assert finishes == [harness.engine.generate(row) for row in rows(harness)]
    assert ["".join(p.text for p in said) for said in pieces] == [finish.text for finish in finishes]
    assert [tuple(i for p in said for i in p.ids) for said in pieces] == [finish.ids for finish in finishes]


def each_answer_goes_on_behind_its_own_published_tokens(harness: suite.Harness) -> None:
    several, pieces = heard(rows(harness))
    whole = harness.engine.generate_all(several)
    for counts in ((0, 5, 2), (len(whole[0].ids), 0, 7)):
        told = [suite._text_behind(said, count) for said, count in zip(pieces, counts, strict=True)]
        going_on, rest = heard(
            [
                replace(row, published=finish.ids[:count], published_text=text)
                for row, finish, count, text in zip(several, whole, counts, told, strict=True)
            ]
        )
        assert harness.engine.generate_all(going_on) == whole
        texts = [text + "".join(p.text for p in said) for text, said in zip(told, rest, strict=True)]
        assert texts == [finish.text for finish in whole]


def a_stop_string_ends_only_the_answers_it_is_in(harness: suite.Harness) -> None:
    whole = [finish.text for finish in harness.engine.generate_all(rows(harness))]
    stop = whole[1][3:6]
    finishes = harness.engine.generate_all(rows(harness, stop=[stop]))
    assert [finish.text for finish in finishes] == [text.partition(stop)[0] for text in whole]


def cancelling_ends_all_answers_and_frees_the_engine(harness: suite.Harness) -> None:
    several = rows(harness)
    several[1] = replace(several[1], emit=lambda _: several[1].cancel.set())
    with pytest.raises(Cancelled):
        harness.engine.generate_all(several)
    assert harness.ask(harness.question, [suite.picture()])[0].text


def an_answer_that_fails_ends_the_others_and_frees_the_engine(harness: suite.Harness) -> None:
    def fail(_: Piece) -> None:
        raise ValueError("its reader is broken")

    several = rows(harness)
    several[1] = replace(several[1], emit=fail)
    with pytest.raises(ValueError, match="its reader is broken"):
        harness.engine.generate_all(several)
    assert harness.ask(harness.question, [suite.picture()])[0].text


CHECKS = suite.checks_of(globals())
