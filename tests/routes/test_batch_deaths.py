"""A process that works on a batch may die at any call: no line is lost, computed twice or counted twice."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.batches.lease import LeaseLostError
from api.batches.turn import BatchTurn
from shared.errors import Unavailable
from shared.store import batches
from shared.store.script import AsyncStore, ScriptCall, T
from tests.support.batch_harness import BatchHarness, opened
from tests.support.batches import answers, empty, line
from tests.support.documents import pdf
from tests.support.redis_server import RedisServer

LINES = [line("a", "one"), "no JSON", line("b", "two"), line("a", "double"), line("c", "three", best_of=2)]
GOOD, BAD = {"a": "ONE", "b": "TWO"}, {"invalid_json_line", "duplicate_custom_id", "unsupported_parameter"}


class DeathError(BaseException):
    """This process is no more."""


class Mortal(AsyncStore):
    """Dies at the call of a number, before the store hears of it or before the answer comes back."""

    def __init__(self, store: AsyncStore, dies_at: int, *, heard: bool) -> None:
        self._own = store
        self.client = store.client
        self._left = dies_at
        self._heard = heard

    async def run(self, call: ScriptCall[T]) -> T:
        self._left -= 1
        if self._left > 0:
            return await self._own.run(call)
        if self._heard:
            await self._own.run(call)
        raise DeathError

    @property
    def survived(self) -> bool:
        return self._left > 0


@pytest.fixture
async def harness(_server: RedisServer, tmp_path: Path) -> AsyncIterator[BatchHarness]:
    async with opened(_server, tmp_path) as found:
        yield found


async def check(harness: BatchHarness) -> None:
    batch = await harness.now()
    assert (batch.stage, batch.total, batch.completed, batch.failed) == ("completed", 5, len(GOOD), len(BAD))
    assert answers(await harness.written(batch.output)) == GOOD
    refused = await harness.written(batch.error)
    assert {row["response"]["body"]["error"]["code"] for row in refused} == BAD
    assert len(refused) == len(BAD)
    check_left(harness, len(GOOD))


def check_left(harness: BatchHarness, jobs: int) -> None:
    client = harness.worker.store.client
    assert harness.jobs() == jobs, "a line was computed twice"
    assert client.keys("sl9:taken*") == []
    holds = [key for key in client.keys("sl9:blob:*") if client.zcount(key, "+inf", "+inf")]
    assert holds == [], "a hold that nobody ends"


async def dies(harness: BatchHarness, dies_at: int, *, heard: bool) -> bool:
    """Turns of a process until its death; False where the batch ends before."""
    store = Mortal(harness.store, dies_at, heard=heard)
    context = harness.context(store)
    while not await harness.ended():
        try:
            await harness.turn(context)
        except DeathError:
            return True
        harness.answer()
    return not store.survived


@pytest.mark.parametrize("heard", [False, True], ids=["before-the-step", "behind-it"])
async def test_a_death_at_any_call_changes_nothing_that_comes_out(harness: BatchHarness, heard: bool) -> None:
    dies_at, died = 0, True
    while died:
        dies_at += 1
        await harness.begin(LINES)
        died = await dies(harness, dies_at, heard=heard)
        await harness.go_on()
        await check(harness)
    assert dies_at > 12


async def test_a_death_while_a_batch_is_cancelled_changes_nothing_told(harness: BatchHarness) -> None:
    dies_at, died = 0, True
    lines = [line(f"{n}", f"text {n}") for n in range(5)]
    while died:
        dies_at += 1
        await harness.begin(lines)
        for _ in range(2):
            await harness.turn()
        harness.worker.succeed(harness.worker.take(), "DONE")
        await harness.store.run(batches.cancel("local", harness.batch))
        died = await dies(harness, dies_at, heard=True)
        await harness.go_on()
        batch = await harness.now()
        assert (batch.stage, batch.total, batch.completed, batch.failed) == ("cancelled", 5, 1, 4)
        assert len(await harness.written(batch.output)) == 1
        assert len({row["custom_id"] for row in await harness.written(batch.error)}) == 4
    assert dies_at > 5


async def test_two_processes_that_both_hold_a_batch_take_no_line_twice(harness: BatchHarness) -> None:
    lines = [line(f"{n}", f"text {n}") for n in range(40)]
    await harness.begin(lines)
    await harness.turn()
    while not await harness.ended():
        both = [await harness.take() for _ in range(2)]
        done = await asyncio.gather(*(BatchTurn(one).run() for one in both), return_exceptions=True)
        assert all(isinstance(result, float | LeaseLostError) for result in done), done
        await harness.give_back(both[1])
        harness.answer()
    batch = await harness.now()
    assert (batch.stage, batch.completed, batch.failed) == ("completed", 40, 0)
    assert answers(await harness.written(batch.output)) == {f"{n}": f"TEXT {n}" for n in range(40)}
    assert harness.jobs() == 40


async def half_done(harness: BatchHarness, count: int) -> None:
    """Two lines of so many are answered, the others not taken yet."""
    await harness.begin([line(f"{n}", f"text {n}") for n in range(count)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("api.batches.lines.SOME", 2)
        patched.setattr("api.batches.intake.WINDOW", 2)
        for _ in range(2):
            await harness.turn()
    harness.answer()


async def misses(harness: BatchHarness) -> None:
    with pytest.raises(Unavailable):
        await BatchTurn(await harness.take()).run()


async def test_a_folder_that_is_empty_for_a_while_throws_nothing_away(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.turn.MANY", 1)
    await half_done(harness, 5)
    with empty(Path(harness.settings.blobs.url)):
        await misses(harness)
    await harness.go_on()
    batch = await harness.now()
    assert (batch.stage, batch.completed, batch.failed) == ("completed", 5, 0)
    assert len(answers(await harness.written(batch.output))) == 5


async def test_what_was_done_is_kept_though_the_rest_of_the_file_is_lost(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.turn.PATIENCE_S", 0)
    await half_done(harness, 200)
    harness.blobs.delete((await harness.now()).digest)
    await misses(harness)
    await harness.go_on()
    batch = await harness.now()
    assert (batch.stage, batch.total, batch.completed, batch.failed) == ("completed", 200, 2, 198)
    texts = [row["response"]["body"]["choices"] for row in await harness.written(batch.output)]
    assert [choices[0]["message"]["content"] for choices in texts] == ["TEXT 0", "TEXT 1"]
    lost = {row["id"]: row["error"]["code"] for row in await harness.written(batch.error)}
    assert (len(lost), set(lost.values())) == (198, {"file_not_found"})


def cut(folder: Path, name: str) -> None:
    """As after a crash of its machine."""
    (file,) = folder.rglob(name)
    os.truncate(file, file.stat().st_size - 9)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_batch_whose_file_was_cut_short_comes_to_its_end(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool
) -> None:
    monkeypatch.setattr("api.batches.turn.PATIENCE_S", 0)
    await half_done(harness, 5)
    if cancelled:
        await harness.store.run(batches.cancel("local", harness.batch))
    cut(Path(harness.settings.blobs.url), (await harness.now()).digest)
    await misses(harness)
    await harness.go_on()
    batch = await harness.now()
    assert (batch.stage, batch.completed, batch.failed) == ("cancelled" if cancelled else "completed", 2, 3)
    assert {row["id"] for row in await harness.written(batch.output)}.isdisjoint(
        row["id"] for row in await harness.written(batch.error)
    )


async def test_a_death_at_any_call_costs_no_page_and_doubles_none(harness: BatchHarness) -> None:
    texts = ["one", "two", "three"]
    dies_at, died = 0, True
    while died:
        dies_at += 1
        await harness.begin_pages(pdf(texts), len(texts))
        died = await dies(harness, dies_at, heard=True)
        await harness.go_on()
        batch = await harness.now()
        assert (batch.stage, batch.total, batch.completed, batch.failed) == ("completed", 3, 3, 0)
        written = await harness.written(batch.output)
        assert sorted(row["custom_id"] for row in written) == ["1", "2", "3"]
        check_left(harness, len(texts))
    assert dies_at > 8
