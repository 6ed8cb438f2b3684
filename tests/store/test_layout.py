"""Records of another layout, which another release wrote, are left alone by every client."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store.files import identity
from shared.store.keys import LAYOUT
from shared.store.layout import LayoutError
from shared.store.models import registrations
from shared.store.pipelined_store import connect_pipelined
from shared.store.script import AsyncStore, Store, connect, connect_async
from tests.support.redis_server import RedisServer

AnyStore = Store | AsyncStore
EARLIER, LATER = f"sl{LAYOUT - 1}:lanes", {"layout": LAYOUT + 1, "id": "theirs"}


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    server.empty()
    with Redis(port=server.port, decode_responses=True) as client:
        yield client
        client.flushall()


@pytest.fixture(params=["earlier", "later"])
def advice(request: pytest.FixtureRequest, client: Any) -> str:
    """What helps where the records are of an earlier or a later layout."""
    if request.param == "earlier":
        client.sadd(EARLIER, "model.m")
        return f"records of layout {LAYOUT - 1} .*in its database: 1.*let the release that wrote them end"
    client.hset("sightline", mapping=LATER)
    return f"records of layout {LAYOUT + 1} .*in its database: 1.*start the release that wrote them"


async def asked(store: AnyStore) -> None:
    if isinstance(store, Store):
        with store.client:
            store.run(identity())
    else:
        try:
            await store.run(identity())
        finally:
            await store.aclose()


@pytest.mark.parametrize("connected", [connect, connect_pipelined, connect_async])
async def test_nobody_writes_anything_beside_records_of_another_layout(
    connected: Callable[[RedisSettings], AnyStore], redis_settings: RedisSettings, client: Any, advice: str
) -> None:
    before = client.keys("*")
    with pytest.raises(LayoutError, match=advice):
        await asked(connected(redis_settings))
    assert client.keys("*") == before


def test_a_store_that_comes_back_with_another_layout_s_records_is_left_alone_until_ours_are_there(
    server: RedisServer, redis_settings: RedisSettings, client: Any
) -> None:
    store = connect(redis_settings)
    with store.client:
        id = store.run(identity())
        server.kill()
        with pytest.raises(Unavailable, match="out of reach"):
            store.run(registrations())
        server.start()
        client.hset("sightline", mapping=LATER)
        server.kill()
        server.start()
        with pytest.raises(LayoutError):
            store.run(registrations())
        client.delete("sightline")
        assert store.run(registrations()).rows == {}
        assert store.run(identity()) != id, "an empty store is another one"


def test_who_deletes_asks_again_on_one_that_lasts(redis_settings: RedisSettings, client: Any) -> None:
    store = connect(redis_settings)
    with store.client:
        store.run(identity())
        client.hset("sightline", mapping=LATER)
        with pytest.raises(LayoutError):
            store.run(identity())


def test_records_beside_leftovers_of_an_earlier_one_are_served(
    redis_settings: RedisSettings, client: Any
) -> None:
    store = connect(redis_settings)
    with store.client:
        id = store.run(identity())
        client.sadd(EARLIER, "model.m")
        store.client.connection_pool.disconnect()
        assert store.run(identity()) == id
