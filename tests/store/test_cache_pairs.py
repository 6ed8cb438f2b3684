"""`benchmarks.cache` in small."""

from collections.abc import AsyncIterator

import pytest

from benchmarks.cache.__main__ import answered_from_cache
from benchmarks.cache.pairs import FIELDS, SAME, pairs
from shared.settings import RedisSettings
from shared.store.script import AsyncStore, connect_async


@pytest.fixture
async def opened(redis_settings: RedisSettings) -> AsyncIterator[AsyncStore]:
    store = connect_async(redis_settings)
    yield store
    await store.aclose()


async def test_the_cache_answers_the_same_question_and_no_other(opened: AsyncStore) -> None:
    some = list(pairs(4 * len(FIELDS), seed=2))
    hits = await answered_from_cache(opened, some)
    assert [pair.field for pair, hit in zip(some, hits, strict=True) if hit != (pair.field == SAME)] == []
