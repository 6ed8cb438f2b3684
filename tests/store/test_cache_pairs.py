"""`benchmarks.cache` in small, and that it would find a hash that is wrong."""

import random
from collections.abc import AsyncIterator

import pytest

from benchmarks.cache import lookups
from benchmarks.cache.pairs import CHANGES, SAME, CallersRequest, Pair, differing, pairs
from shared.cache_key import request_hash
from shared.request import Message, Parameters, Request
from shared.settings import RedisSettings
from shared.store.script import AsyncStore, connect_async


@pytest.fixture
async def opened(redis_settings: RedisSettings) -> AsyncIterator[AsyncStore]:
    store = connect_async(redis_settings)
    yield store
    await store.aclose()


async def test_the_cache_answers_the_same_question_and_no_other(opened: AsyncStore) -> None:
    some = list(pairs(4 * len(CHANGES), seed=2))
    hits = await lookups.answered_from_cache(opened, some)
    assert [pair.field for pair, hit in zip(some, hits, strict=True) if hit != (pair.field == SAME)] == []


async def test_a_hash_that_leaves_a_field_out_is_found_out(
    opened: AsyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(request: Request, revision: str) -> str:
        seedless = request.parameters.model_copy(update={"seed": None})
        return request_hash(request.model_copy(update={"parameters": seedless}), revision)

    seeds = [differing(random.Random(number), "parameters.seed") for number in range(3)]  # noqa: S311
    monkeypatch.setattr(lookups, "request_hash", blind)
    assert await lookups.answered_from_cache(opened, seeds) == [True] * 3


async def test_a_hash_that_minds_the_spelling_is_found_out(
    opened: AsyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (Message(role="assistant", parts=()),)
    one, other = (
        Request(model="org/model", messages=said, parameters=Parameters(stop=stop))
        for stop in (("a", "b"), ("b", "a"))
    )
    monkeypatch.setattr(lookups, "request_hash", lambda request, _: request.model_dump_json())
    assert await lookups.answered_from_cache(
        opened, [Pair(SAME, CallersRequest(one), CallersRequest(other))]
    ) == [False]
