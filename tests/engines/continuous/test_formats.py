"""Formats and none in one batch: nobody's answer is another's business."""

from collections.abc import Callable

from shared.errors import CallerError
from shared.request import Format
from tests.engines import suite
from tests.engines.continuous.conftest import QUESTIONS, Question, crowd, crowded
from worker.engines.base import Finish

FORMATS = (
    Format(kind="json", content='{"type":"array","items":{"type":"integer"}}'),
    Format(kind="regex", content=r"(\d\d, ){1,6}[a-z]+\."),
    Format(kind="choice", content='["A red disc.","A square."]'),
)
MIXED = tuple(
    Question(one.number, {**one.parameters, "format": FORMATS[at % 3], "min_new_tokens": None})
    if at % 2
    else one
    for at, one in enumerate(QUESTIONS)
)


def test_rows_with_and_without_a_format_get_what_they_get_alone(
    harness: suite.Harness, alone: suite.Harness, answers: list[Finish]
) -> None:
    held = [question.ask(alone) for question in MIXED[1::2]]
    together = crowded(harness, MIXED)
    assert together[::2] == answers[::2]
    assert together[1::2] == held
    assert crowded(harness, MIXED[::-1])[::-1] == together


def test_a_format_that_cannot_be_kept_up_ends_its_own_row_only(
    harness: suite.Harness, answers: list[Finish]
) -> None:
    bad = Question(3, {"format": FORMATS[2], "min_new_tokens": 40, "max_new_tokens": 48})
    asks: list[Callable[[], Finish]] = [lambda q=one: q.ask(harness) for one in (*QUESTIONS[:6], bad)]  # type: ignore[misc]
    *others, refused = crowd(harness, asks)
    assert [future.result() for future in others] == answers[:6]
    error = refused.exception()
    assert isinstance(error, CallerError)
    assert error.param == "min_new_tokens"
