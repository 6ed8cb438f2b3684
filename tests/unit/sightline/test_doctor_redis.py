"""`sightline doctor` looks at a record store: may jobs rest on it?"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

from shared.blobs import Blobs
from shared.settings import BlobSettings, RedisSettings, Settings
from shared.store import acknowledgement
from shared.store.files import identity
from shared.store.keys import PREFIX
from shared.store.script import connect
from sightline.doctor import records
from sightline.doctor.check import Check, State
from tests.support.clients import until
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, cluster, redis_server


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture
def configured(server: RedisServer) -> Iterator[Callable[..., None]]:
    """The server's configuration in the test's hand, and as it was afterwards."""
    with Redis(port=server.port, decode_responses=True) as client:
        before = {
            name: client.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy", "appendonly")
        }

        def configure(**said: str) -> None:
            for name, value in said.items():
                client.config_set(name.replace("_", "-"), value)

        yield configure
        for name, value in before.items():
            client.config_set(name, value)
        # While it writes its first file it heeds no signal to stop.
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])


def settings(server: RedisServer) -> RedisSettings:
    return RedisSettings.model_validate({"url": server.url()})


def states(checks: Iterator[Check]) -> dict[str, State]:
    return {check.about: check.state for check in checks}


def test_a_record_store_that_may_be_relied_on_is_no_problem(
    server: RedisServer, configured: Callable[..., None]
) -> None:
    configured(maxmemory="500mb")
    found = states(records.checks(settings(server)))
    assert found.pop("latency") in ("ok", "warning")
    assert found == dict.fromkeys(("redis", "persistence", "eviction", "memory", "clock"), "ok")


@pytest.mark.parametrize(
    ("said", "about", "state"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", "problem"),
        ({"appendonly": "no"}, "persistence", "warning"),
        ({"maxmemory": "0"}, "memory", "warning"),
        ({"maxmemory": "1mb"}, "memory", "problem"),
    ],
)
def test_a_record_store_that_may_lose_or_refuse_jobs_is_named_with_what_to_do(
    server: RedisServer, configured: Callable[..., None], said: dict[str, str], about: str, state: State
) -> None:
    configured(**said)
    (found,) = (check for check in records.checks(settings(server)) if check.about == about)
    assert found.state == state
    assert found.fix


def test_who_sees_new_jobs_refused_is_told_how_much_is_reserved_for_those_that_wait(
    server: RedisServer, configured: Callable[..., None]
) -> None:
    configured(maxmemory="500mb")
    with Redis(port=server.port) as client:
        client.hset(f"{PREFIX}mem", mapping={"": 500 * 2**20, "shop": 510 * 2**20, "other": 2**20})
        try:
            checks = list(records.checks(settings(server)))
        finally:
            client.delete(f"{PREFIX}mem")
    (found,) = (check for check in checks if check.about == "memory")
    assert found.state == "problem"
    assert "500.0 MiB more reserved for accepted work" in found.said
    assert "callers' records take 11.0 MiB (with reserves, most: shop 510.0, other 1.0)" in found.said
    assert "new jobs are refused" in found.said


def test_a_server_that_takes_none_of_our_writes_is_named(server: RedisServer) -> None:
    with Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", free_port())
        try:
            found = states(records.checks(settings(server)))
        finally:
            client.replicaof("NO", "ONE")
    assert found["redis"] == "problem"


@pytest.mark.parametrize(
    ("value", "fsync", "state"),
    [("disk", "always", "ok"), ("disk", "no", "problem"), ("replica", "no", "problem")],
)
def test_a_server_that_could_acknowledge_no_job_is_named(
    server: RedisServer, value: str, fsync: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledgement, "LIMIT_MS", 50)
    redis = RedisSettings.model_validate({"url": server.url(), "acknowledge": value})
    with Redis(port=server.port) as client:
        client.config_set("appendfsync", fsync)
        try:
            assert states(records.checks(redis))["acknowledge"] == state
        finally:
            client.config_set("appendfsync", "no")


def test_a_server_without_functions_is_named_with_what_to_do() -> None:
    with redis_server("--rename-command", "FCALL", "") as server:
        (found,) = records.checks(settings(server))
    assert (found.state, "has no Redis Functions" in found.said) == ("problem", True)


def test_records_of_an_earlier_layout_are_named(server: RedisServer) -> None:
    with Redis(port=server.port) as client:
        client.sadd("sl2:lanes", "model.m")
        try:
            (found,) = records.checks(settings(server))
        finally:
            client.delete("sl2:lanes")
    assert (found.about, found.state) == ("layout", "problem")
    assert "let the release that wrote them end its jobs" in str(found.fix)


def test_pictures_of_another_record_store_are_named(server: RedisServer, tmp_path: Path) -> None:
    mine = Settings(redis=settings(server), blobs=BlobSettings(url=str(tmp_path)))
    store, blobs = connect(mine.redis), Blobs(mine.blobs)
    with store.client:
        assert list(records.check_owner(mine)) == [], "nobody has them yet"
        id = store.run(identity())
        blobs.assign(id)
        assert list(records.check_owner(mine)) == []
        blobs.assign("another")
        (found,) = records.check_owner(mine)
        store.client.delete("sightline")
    assert (found.about, found.state) == ("pictures", "problem")
    assert f"the record store another, not to {id}" in found.said
    assert "sightline store adopt" in str(found.fix)


def test_records_that_could_not_be_read_are_named(server: RedisServer) -> None:
    with Redis(port=server.port) as client:
        client.hset(f"{PREFIX}bad", "run_1", "it lacks lane")
        try:
            (found,) = (check for check in records.checks(settings(server)) if check.about == "records")
        finally:
            client.delete(f"{PREFIX}bad")
    assert (found.state, "run_1: it lacks lane" in found.said) == ("warning", True)
    assert "/v1/admin/records" in str(found.fix)


def test_a_cluster_is_named_and_not_taken_for_a_server_that_is_away() -> None:
    with cluster() as server:
        (found,) = records.checks(settings(server))
    assert (found.state, "is a cluster" in found.said) == ("problem", True)


def test_a_user_who_may_not_call_functions_is_named(server: RedisServer) -> None:
    with Redis(port=server.port) as client:
        client.acl_setuser(
            "reader",
            enabled=True,
            passwords="+swordfish",
            keys="*",
            commands=["+info", "+time", "+hget", "+dbsize", "+exists"],
        )
        url = f"redis://reader:swordfish@127.0.0.1:{server.port}/0"
        try:
            (found,) = records.checks(RedisSettings.model_validate({"url": url}))
        finally:
            client.acl_deluser("reader")
    assert (found.about, found.state) == ("redis", "problem")
    assert "fcall" in found.said


def test_a_record_store_that_is_not_there_is_named_without_its_password() -> None:
    url = f"redis://:swordfish@127.0.0.1:{free_port()}/0"
    (found,) = records.checks(RedisSettings.model_validate({"url": url}))
    assert (found.about, found.state) == ("redis", "problem")
    assert "swordfish" not in str(found)


@pytest.mark.parametrize("password", ["", ":swordfish@"])
def test_a_password_that_is_wrong_or_missing_is_not_told_as_a_server_that_is_down(
    server: RedisServer, password: str
) -> None:
    with Redis(port=server.port) as client:
        client.config_set("requirepass", "another")
        try:
            url = f"redis://{password}127.0.0.1:{server.port}/0"
            (found,) = records.checks(RedisSettings.model_validate({"url": url}))
        finally:
            client.config_set("requirepass", "")
    assert (found.about, found.state) == ("redis", "problem")
    assert "password" in found.said
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0.0, "ok"), (20.0, "warning"), (-20.0, "warning"), (600.0, "problem")]
)
def test_a_clock_that_is_another_than_the_record_store_s_is_named(
    server: RedisServer, ahead_s: float, state: State
) -> None:
    found = states(records.checks(settings(server), now=lambda: time.time() - ahead_s))
    assert found["clock"] == state


def test_a_machine_that_stood_still_while_it_asked_is_not_told_of_another_clock(server: RedisServer) -> None:
    asked = count(1)

    def now() -> float:
        """The answer to the first question is looked at ten seconds late."""
        return time.time() + (10 if next(asked) == 2 else 0)

    assert states(records.checks(settings(server), now=now))["clock"] == "ok"
