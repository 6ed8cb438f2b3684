"""What a worker counts of its runs is what happened to them."""

import pytest

from tests.support.attempt_harness import FAIL, MODEL, STALL, WorkerHarness
from tests.support.clients import until
from tests.support.metrics import counted
from tests.support.pictures import picture
from worker.engines.echo import EchoEngine
from worker.lease import Reason

ATTEMPTS, TOKENS = "sightline_attempts_total", "sightline_tokens_total"
WAITS, FIRSTS = "sightline_wait_seconds_count", "sightline_time_to_first_token_seconds_count"


def of_model(name: str, **labels: str) -> float:
    return counted(name, model=MODEL.id, **labels)


def answer(harness: WorkerHarness, text: str) -> None:
    """A token at a time."""
    harness.ask(text)
    harness.attempt(EchoEngine(MODEL.model_copy(update={"options": MODEL.options | {"step_s": 1e-4}})))


@pytest.mark.parametrize(("text", "outcome"), [("how are you", "succeeded"), (FAIL, "retried")])
def test_an_attempt_is_counted_by_its_end(harness: WorkerHarness, text: str, outcome: str) -> None:
    before = of_model(ATTEMPTS, outcome=outcome), of_model(ATTEMPTS)
    answer(harness, text)
    assert (of_model(ATTEMPTS, outcome=outcome), of_model(ATTEMPTS)) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(("reason", "outcome"), [("lost", "lost"), ("draining", "given_back")])
def test_what_was_stopped_is_no_failure(harness: WorkerHarness, reason: Reason, outcome: str) -> None:
    before = of_model(ATTEMPTS, outcome=outcome)
    harness.ask(STALL)
    with harness.attempting():
        (lease,) = until(harness.leases.all)
        lease.stop(reason)
    assert of_model(ATTEMPTS, outcome=outcome) == before + 1


def test_tokens_are_those_that_the_caller_is_told_of(harness: WorkerHarness) -> None:
    kinds = ("prompt", "picture", "completion")
    before = {kind: of_model(TOKENS, kind=kind) for kind in kinds}
    job = harness.ask("how big is", picture(size=(64, 48)))
    harness.attempt()
    result = harness.job(job).result
    assert result is not None
    told = (result.usage.prompt_tokens, result.usage.image_tokens, result.usage.completion_tokens)
    assert {kind: of_model(TOKENS, kind=kind) - before[kind] for kind in kinds} == dict(
        zip(kinds, told, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "times"),
    [
        (WAITS, 1),
        (FIRSTS, 1),
        ("sightline_run_seconds_count", 1),
        ("sightline_compute_seconds_count", 1),
        # Of four tokens.
        ("sightline_inter_token_seconds_count", 3),
        ("sightline_tokens_generated_total", 4),
    ],
)
def test_each_time_of_a_run_is_taken_once(harness: WorkerHarness, name: str, times: int) -> None:
    before = of_model(name)
    answer(harness, "how are you today")
    assert of_model(name) - before == times


def test_a_second_attempt_tells_neither_wait_nor_first_token_again(harness: WorkerHarness) -> None:
    before = of_model(WAITS), of_model(FIRSTS)
    harness.ask("how are you")
    with harness.leases.hold(harness.claim()):
        harness.give_up()
    harness.attempt()
    assert (of_model(WAITS), of_model(FIRSTS)) == before


def server_s(harness: WorkerHarness) -> float:
    seconds, microseconds = harness.store.client.time()
    return float(seconds + microseconds / 1e6)


def test_the_wait_in_line_is_part_of_the_wait_for_the_first_token(harness: WorkerHarness) -> None:
    def sums() -> tuple[float, float]:
        return (
            of_model("sightline_wait_seconds_sum"),
            of_model("sightline_time_to_first_token_seconds_sum"),
        )

    before = sums()
    harness.ask("how are you")
    asked_s = server_s(harness)
    until(lambda: server_s(harness) > asked_s + 0.05)
    harness.attempt()
    waited, first = (now - was for now, was in zip(sums(), before, strict=True))
    # Differences of sums: the last digits are not to be trusted.
    assert 0.0499 < waited < first
