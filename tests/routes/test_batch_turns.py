"""Turns of work on batches: none is lost to a model's bad hour, and none keeps other batches waiting."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.admission.submission import Submission
from shared.estimate import Lane
from shared.models import Model
from shared.store import batches
from tests.support.batch_harness import BatchHarness, opened
from tests.support.batches import line
from tests.support.redis_server import RedisServer

COUNT = 40
LINES = [line(f"{n}", f"text {n}") for n in range(COUNT)]


@pytest.fixture
async def harness(_server: RedisServer, tmp_path: Path) -> AsyncIterator[BatchHarness]:
    async with opened(_server, tmp_path) as found:
        yield found


async def test_a_model_that_fails_to_load_for_a_while_costs_no_line(harness: BatchHarness) -> None:
    await harness.begin(LINES)
    harness.worker.beat("loading")
    harness.worker.beat("gone", failed="out of memory")
    for _ in range(2):
        await harness.turn()
    assert (await harness.now()).row == 0
    harness.worker.beat()
    await harness.go_on()
    batch = await harness.now()
    assert (batch.stage, batch.completed, batch.failed) == ("completed", COUNT, 0)


async def test_lines_whose_window_closes_meanwhile_are_told_of_no_field_that_they_never_sent(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock, whatever this machine's says."""
    await harness.begin(LINES)
    lane = Submission._lane

    async def much_later(self: Submission, model: Model) -> tuple[Lane, int]:
        return (await lane(self, model))[0], 2**60

    monkeypatch.setattr(Submission, "_lane", much_later)
    await harness.turn()
    batch = await harness.now()
    assert (batch.row, batch.failed) == (0, 0)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_batch_that_ends_before_its_time_gives_way_to_others_after_each_turn(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    monkeypatch.setattr("api.batches.output.TURN_S", 0.0)
    monkeypatch.setattr("api.batches.output.AT_ONCE", 1)
    monkeypatch.setattr("api.batches.lines.SOME", 1)
    await harness.begin(LINES[:4])
    await harness.turn()
    if gone:
        harness.worker.store.client.hset(f"sl9:{harness.batch}", "gone", 1)
    else:
        await harness.store.run(batches.cancel("local", harness.batch))
    for done in range(1, 5):
        await harness.turn()
        batch = await harness.now()
        assert (batch.written, batch.failed, batch.output) == (done, done, None)
    await harness.go_on()
    batch = await harness.now()
    code = "file_not_found" if gone else "batch_cancelled"
    assert (batch.stage, batch.failed) == ("completed" if gone else "cancelled", 4)
    refused = await harness.written(batch.error)
    assert {row["error"]["code"] for row in refused} == {code}
    assert [row["custom_id"] for row in refused] == [None if gone else str(n) for n in range(4)]


async def test_a_line_that_takes_long_holds_up_rows_behind_it_and_not_their_computation(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.turn.LONGEST_S", 0)
    await harness.begin(LINES)
    for _ in range(2):
        await harness.turn()
    first = harness.worker.take()
    harness.answer()
    await harness.turn()
    assert ((await harness.now()).written, harness.jobs(), harness.worker.idle()) == (0, COUNT, True)
    harness.worker.succeed(first, "LATE")
    await harness.go_on()
    rows = await harness.written((await harness.now()).output)
    assert [row["custom_id"] for row in rows] == [str(n) for n in range(COUNT)]
