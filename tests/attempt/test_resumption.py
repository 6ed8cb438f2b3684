"""Another worker goes on with an answer whose first words have been read."""

from shared.result import Candidate, Piece, TokenLogprob, logprobs_of
from shared.store.claims import append
from tests.support.attempt_harness import Workbench
from tests.support.stored import fields_of


def test_the_next_attempt_goes_on_behind_what_readers_have(desk: Workbench) -> None:
    job = desk.ask("one two three four")
    dead = desk.claim()
    desk.store.run(append(dead, Piece(0, "one two", (0, 1))))
    desk.give_up()
    desk.attempt()
    view = desk.job(job)
    assert desk.text(job) == "one two three four"
    assert view.result is not None
    assert view.result.text == "one two three four"
    assert view.result.usage.completion_tokens == 4


def test_the_next_attempt_tells_the_logprobs_of_the_whole_answer(desk: Workbench) -> None:
    job = desk.ask("one two three four", logprobs=1)
    dead, told = desk.claim(), TokenLogprob(0, Candidate("one two", 0.0), ())
    desk.store.run(append(dead, Piece(0, "one two", (0, 1), (told,))))
    desk.give_up()
    desk.attempt()
    view = desk.job(job)
    assert view.result is not None
    kept = view.result.choices[0].logprobs
    assert kept is not None
    assert [t.chosen.token for t in kept] == ["one", " two", " three", " four"]
    streamed = [t for e in desk.events(job) for t in logprobs_of(e.data) or ()]
    assert streamed == [told, *kept[2:]]


def test_what_nobody_asked_for_is_not_kept(desk: Workbench) -> None:
    job = desk.ask("one two")
    desk.attempt()
    records = fields_of(desk.store.client, desk.job(job).run_id)
    assert "logprobs" not in str((records, [e.data for e in desk.events(job)]))


def test_another_model_does_not_go_on_with_a_text_that_readers_have(desk: Workbench) -> None:
    job = desk.ask("one two three four")
    dead = desk.claim(fingerprint="a" * 32)
    desk.store.run(append(dead, Piece(0, "one two", (0, 1))))
    assert desk.text(job) == "one two"
    desk.give_up()
    desk.attempt()
    error = desk.job(job).error
    assert error is not None
    assert (error.code, error.retryable) == ("stream_broken", True)


def test_another_model_may_answer_where_nothing_was_written_yet(desk: Workbench) -> None:
    job = desk.ask("one two")
    desk.claim(fingerprint="a" * 32)
    desk.give_up()
    desk.attempt()
    assert desk.job(job).status == "succeeded"


def test_an_update_fails_no_job_whose_words_nobody_has_read(desk: Workbench) -> None:
    job = desk.ask("one two three four")
    stopped = desk.claim(fingerprint="a" * 32)
    desk.store.run(append(stopped, Piece(0, "eins zwei", (5, 6))))
    desk.give_up()
    desk.attempt()
    assert desk.job(job).status == "succeeded"
    assert desk.text(job) == "one two three four"
