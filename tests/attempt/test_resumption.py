"""Another worker goes on with an answer whose first words have been read."""

from shared.result import Piece
from shared.store.claims import append
from tests.support.attempt_harness import WorkerHarness


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
