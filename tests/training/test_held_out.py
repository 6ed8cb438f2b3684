"""The held-out table compares models, so each is asked the same."""

import pytest

from training.held_out import MAKERS, cases


@pytest.mark.parametrize("kind", list(MAKERS))
def test_held_out_cases_are_the_same_for_every_model(kind: str) -> None:
    first, again = (list(cases(kind, unseen=True, number=3)) for _ in range(2))
    assert [(c.question, c.answer) for c in first] == [(c.question, c.answer) for c in again]
    assert all(case.messages[0].pictures for case in first)
