"""Another worker goes on with an answer whose first words have been read."""

from shared.result import Candidate, Piece, TokenLogprob, logprobs_of
from shared.store.claims import append
from tests.support.attempt_harness import WorkerHarness
from tests.support.existing import existing


def test_the_next_attempt_goes_on_behind_what_readers_have(harness: WorkerHarness) -> None:
    job = harness.ask("one two three four")
    dead = harness.claim()
    harness.store.run(append(dead, Piece(0, "one two", (0, 1))))
    harness.give_up()
    harness.attempt()
    view = harness.job(job)
    assert harness.text(job) == "one two three four"
    assert view.result is not None
    assert view.result.text == "one two three four"
    assert view.result.usage.completion_tokens == 4


def test_the_next_attempt_tells_the_logprobs_of_the_whole_answer(harness: WorkerHarness) -> None:
    job = harness.ask("one two three four", logprobs=1)
    dead, told = harness.claim(), TokenLogprob(0, Candidate("one two", 0.0), ())
    harness.store.run(append(dead, Piece(0, "one two", (0, 1), (told,))))
    harness.give_up()
    harness.attempt()
    view = harness.job(job)
    assert view.result is not None
    kept = existing(view.result.choices[0].logprobs)
    assert [t.chosen.token for t in kept] == ["one", " two", " three", " four"]
    streamed = [t for e in harness.events(job) for t in logprobs_of(e.data) or ()]
    assert streamed == [told, *kept[2:]]


def test_another_model_does_not_go_on_with_a_text_that_readers_have(harness: WorkerHarness) -> None:
    job = harness.ask("one two three four")
    dead = harness.claim(fingerprint="a" * 32)
    harness.store.run(append(dead, Piece(0, "one two", (0, 1))))
    assert harness.text(job) == "one two"
    harness.give_up()
    harness.attempt()
    error = harness.failure(job)
    assert (error.code, error.retryable) == ("stream_broken", True)


def test_an_update_fails_no_job_whose_words_nobody_has_read(harness: WorkerHarness) -> None:
    job = harness.ask("one two three four")
    stopped = harness.claim(fingerprint="a" * 32)
    harness.store.run(append(stopped, Piece(0, "eins zwei", (5, 6))))
    harness.give_up()
    harness.attempt()
    assert harness.job(job).status == "succeeded"
    assert harness.text(job) == "one two three four"
