"""What is asked at the same time shares an exchange, and nobody gets another's answer."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.store.exchange import Pipelining


class Exchange:
    """Answers ten times the number, once `go` is set; the `failing` ones fail."""

    def __init__(self, *failing: int) -> None:
        self.go = asyncio.Event()
        self.batches: list[list[int]] = []
        self._failing = failing

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(numbers))
        await self.go.wait()
        return [ValueError(str(n)) if n in self._failing else 10 * n for n in numbers]


async def under_way(exchange: Exchange) -> None:
    async with asyncio.timeout(60):
        while not exchange.batches:
            await asyncio.sleep(0)


async def test_callers_that_come_during_an_exchange_share_the_next_one_and_get_their_own_answers() -> None:
    exchange = Exchange()
    pipelining = Pipelining(exchange)
    first = pipelining.send(1)
    await under_way(exchange)
    others = [pipelining.send(n) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    exchange.go.set()

    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert exchange.batches == [[1], [2, 3, 4]]


async def test_one_callers_error_is_not_its_neighbours() -> None:
    exchange = Exchange(2)
    exchange.go.set()
    pipelining = Pipelining(exchange)
    answers = await asyncio.gather(*(pipelining.send(n) for n in (1, 2, 3)), return_exceptions=True)

    assert [answers[0], answers[2]] == [10, 30]
    with pytest.raises(ValueError, match="2"):
        raise answers[1]  # type: ignore[misc]


async def test_a_caller_who_hangs_up_leaves_the_others_their_answers() -> None:
    exchange = Exchange()
    pipelining = Pipelining(exchange)
    leaving, staying = pipelining.send(1), pipelining.send(2)
    await under_way(exchange)
    leaving.cancel()
    exchange.go.set()

    assert await staying == 20
    assert await pipelining.send(3) == 30


async def test_an_exchange_that_fails_costs_nobody_who_waits_for_the_next_one() -> None:
    exchange = Exchange()

    async def at_first_broken(numbers: Sequence[int]) -> Sequence[int | Exception]:
        replies = await exchange(numbers)
        if len(exchange.batches) == 1:
            raise ArithmeticError("nobody thought of it")
        return replies

    pipelining = Pipelining(at_first_broken)
    first = pipelining.send(1)
    await under_way(exchange)
    later = pipelining.send(2)
    await asyncio.sleep(0)
    exchange.go.set()

    with pytest.raises(ArithmeticError):
        await first
    assert await later == 20


async def test_a_crowd_is_sent_in_exchanges_of_a_bounded_size() -> None:
    exchange = Exchange()
    exchange.go.set()
    pipelining = Pipelining(exchange)
    crowd = range(2 * Pipelining.LARGEST + 1)

    assert await asyncio.gather(*(pipelining.send(n) for n in crowd)) == [10 * n for n in crowd]
    assert [len(batch) for batch in exchange.batches] == [
        Pipelining.LARGEST,
        Pipelining.LARGEST,
        1,
    ]


async def test_who_waits_behind_an_exchange_that_hangs_waits_no_longer_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", 0.02)
    pipelining = Pipelining(Exchange())
    failures = await asyncio.gather(*(pipelining.ask(number) for number in (1, 2)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [RedisTimeoutError] * 2
    await pipelining.aclose()


async def test_nobody_waits_for_ever_on_an_exchange_that_broke() -> None:
    async def broken(_: Sequence[int]) -> Sequence[int | Exception]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Pipelining(broken).send(1)


async def test_a_process_that_stops_leaves_no_exchange_under_way_and_begins_none() -> None:
    exchange = Exchange()
    pipelining = Pipelining(exchange)
    asked = pipelining.send(1)
    await under_way(exchange)

    await pipelining.aclose()

    with pytest.raises(asyncio.CancelledError):
        await asked
    with pytest.raises(asyncio.CancelledError):
        await pipelining.send(2)
    assert exchange.batches == [[1]]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_nobody_waits_for_a_pipeline_that_is_closed_before_it_began() -> None:
    pipelining = Pipelining(Exchange())
    answer = pipelining.send(1)
    await pipelining.aclose()
    assert answer.cancelled()
