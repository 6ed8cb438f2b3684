"""What every engine tells of its tokens' probabilities, as checks beside those of the suite."""

import pytest

from tests.engines import suite
from worker.engines.base import Finish


def logprobs_tell_of_every_token_of_the_text(harness: suite.Harness) -> None:
    finish, pieces = harness.ask(harness.question, [suite.picture()], logprobs=2)
    assert finish.logprobs
    assert [told for p in pieces for told in p.logprobs or ()] == list(finish.logprobs)
    assert "".join(told.chosen.token for told in finish.logprobs) == finish.text
    for told in finish.logprobs:
        assert finish.text.startswith(told.chosen.token, told.start)
        assert told.chosen.logprob <= 0
        assert told.top[0].logprob >= told.chosen.logprob
        assert len(told.top) <= 2


def nobody_is_told_logprobs_who_did_not_ask(harness: suite.Harness) -> None:
    finish, pieces = harness.ask(harness.question, [suite.picture()])
    assert {finish.logprobs, *(p.logprobs for p in pieces)} == {None}


def logprobs_end_where_a_stop_string_cuts_the_text(harness: suite.Harness) -> None:
    whole, _ = harness.ask(harness.question, [suite.picture()], logprobs=1)
    stop = whole.text[7:11]
    finish, pieces = harness.ask(harness.question, [suite.picture()], logprobs=1, stop=[stop])
    assert whole.logprobs is not None
    assert finish.logprobs == tuple(t for t in whole.logprobs if t.start < whole.text.index(stop))
    assert tuple(told for p in pieces if p.text for told in p.logprobs or ()) == finish.logprobs


def resuming_tells_the_same_logprobs(harness: suite.Harness) -> None:
    whole, pieces = harness.ask(harness.question, [suite.picture()], logprobs=2)
    for count in range(len(whole.ids) + 1):
        published, text = whole.ids[:count], suite._text_behind(pieces, count)
        finish, rest = harness.ask(
            harness.question, [suite.picture()], logprobs=2, published=published, published_text=text
        )
        same_logprobs(finish, whole)
        assert finish.logprobs is not None
        assert tuple(told for p in rest for told in p.logprobs or ()) == finish.logprobs[count:]


def same_logprobs(one: Finish, other: Finish) -> None:
    """But for rounding."""
    first, second = one.logprobs or (), other.logprobs or ()
    assert [(t.start, t.chosen.token, len(t.top)) for t in first] == [
        (t.start, t.chosen.token, len(t.top)) for t in second
    ]
    for mine, theirs in zip(first, second, strict=True):
        assert mine.chosen.logprob == pytest.approx(theirs.chosen.logprob, abs=1e-3)
        assert [c.logprob for c in mine.top] == pytest.approx([c.logprob for c in theirs.top], abs=1e-3)


CHECKS = suite.checks_of(globals())
