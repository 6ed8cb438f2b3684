"""Monitoring sees how full the server is, and what it does then."""

import pytest

from shared.metrics.gauges import Server, families
from shared.settings import Settings
from shared.store.headroom import memory
from shared.store.keys import INTAKE
from shared.store.script import Store
from shared.store.workers import fleet


@pytest.mark.parametrize(("policy", "told"), [("noeviction", 0), ("allkeys-lru", 1)])
def test_monitoring_sees_a_store_that_may_evict_accepted_jobs(
    real_store: Store, policy: str, told: int
) -> None:
    real_store.client.config_set("maxmemory-policy", policy)
    try:
        held = real_store.run(memory())
    finally:
        real_store.client.config_set("maxmemory-policy", "noeviction")
    server = Server(held.used, held.promised, held.limit, held.evicts, round_trip_s=0)
    (intake,) = real_store.run(fleet(Settings(), [INTAKE]))
    page = families([], [], intake, server)
    (found,) = (one for one in page if one.name == "sightline_store_evicts")
    assert [sample.value for sample in found.samples] == [told]


def test_how_full_the_server_is_is_read(real_store: Store) -> None:
    real_store.client.config_set("maxmemory", 10**9)
    try:
        seen = real_store.run(memory())
    finally:
        real_store.client.config_set("maxmemory", 0)
    assert 0 < seen.used < seen.limit == 10**9
    assert real_store.run(memory()).limit == 0
