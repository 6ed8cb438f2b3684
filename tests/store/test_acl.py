"""Redis users that may do no more than the service needs: they do all of its work, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from shared.api_keys import ApiKey
from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store import api_keys
from shared.store.headroom import memory
from shared.store.layout import LayoutError
from shared.store.nudges import Nudger
from shared.store.script import Store, connect, connect_async
from shared.store.server import RIGHTS, access, check_functions, probe
from shared.store.wakeups import WorkerWakeup
from shared.webhooks import Webhook
from tests.store.test_retention import live_and_end, take_in_and_end
from tests.support.functions import sources
from tests.support.hooks import taken
from tests.support.redis_server import RedisServer
from tests.support.store import LANE, START_MS, Records

LINES = (Path(__file__).parents[2] / "examples/redis/users.acl").read_text(encoding="utf-8").splitlines()
RULES = {words[1]: words[2:] for words in map(str.split, LINES)}
USERS = ("sightline-api", "sightline-worker")
KEY = ApiKey("key_0b", "shop", "shop", ("read",), START_MS, requests_per_minute=2)


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    """The server with the users of the file beside its own."""
    server.empty()
    with Redis(port=server.port, decode_responses=True) as client:
        for user in USERS:
            client.execute_command("ACL", "SETUSER", user, *RULES[user])
        client.acl_log_reset()
        yield client
        for user in USERS:
            client.acl_deluser(user)


def settings_of(server: RedisServer, user: str) -> RedisSettings:
    password = next(rule[1:] for rule in RULES[user] if rule.startswith(">"))
    return RedisSettings.model_validate({"url": f"redis://{user}:{password}@127.0.0.1:{server.port}/0"})


@pytest.fixture(params=USERS)
def redis(request: pytest.FixtureRequest, admin: Any, server: RedisServer) -> RedisSettings:
    assert admin.acl_getuser(request.param)
    return settings_of(server, request.param)


def denied(admin: Any) -> list[str]:
    """Redis 7.0 does not know `CLIENT SETINFO`, without which clients get on."""
    entries = [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in admin.acl_log()]
    return [entry for entry in entries if "client|setinfo" not in entry]


def work(records: Records) -> None:
    """What callers, workers, couriers and operators do in a life of jobs, keys and webhooks."""
    live_and_end(records)
    take_in_and_end(records)
    hook = Webhook("https://example.com/told", host="example.com")
    job = records.accept(records.placing(), webhook=hook, stored=False, retain_s=60)
    claim = records.claim()
    records.renew(claim)
    records.settle(claim)
    delivery = taken(records)
    records.tell(delivery)
    records.purge(job.id)
    assert records.run(api_keys.create(KEY, "one")) is not None
    assert records.run(api_keys.rotate(KEY.id, "two", 60)) is not None
    records.run(api_keys.use("two"))
    assert records.run(api_keys.revoke(KEY.id)) is not None
    records.run(api_keys.keys())
    records.run(memory())
    for maintenance in (records.due, records.expire, records.rescue):
        maintenance()


def test_all_of_the_work_on_the_records_asks_for_no_more(redis: RedisSettings, admin: Any) -> None:
    store = connect(redis)
    with store.client:
        work(Records(store))
    assert denied(admin) == []


def test_its_user_sees_records_of_an_earlier_layout(redis: RedisSettings, admin: Any) -> None:
    admin.sadd("sl6:lanes", LANE)
    with pytest.raises(LayoutError):
        access(redis)
    assert denied(admin) == []


def test_nudges_wakeups_and_the_look_at_start_ask_for_no_more(redis: RedisSettings, admin: Any) -> None:
    assert Nudger(redis).send(LANE)
    assert WorkerWakeup(redis, "worker_1").wait(0.05)
    assert probe(redis.store_url).name
    with connect(redis).client as client:
        assert Store(client).run(RIGHTS)
        assert client.wait(0, 1) == 0
    assert denied(admin) == []


async def test_a_user_with_the_rights_of_an_earlier_release_is_an_outage_with_its_reason(
    admin: Any, server: RedisServer
) -> None:
    admin.execute_command("ACL", "SETUSER", USERS[0], "resetkeys", "~sl9:*")
    store = connect_async(settings_of(server, USERS[0]))
    try:
        with pytest.raises(Unavailable, match=r"may not do what we need \(.*permissions"):
            await store.run(memory())
    finally:
        await store.aclose()


@pytest.mark.parametrize("lacks", ["resetchannels", "-publish", "-zadd", "%R~*", "~sl9:*"])
def test_who_starts_the_service_learns_that_its_user_lacks_a_right(
    lacks: str, admin: Any, server: RedisServer
) -> None:
    """Else jobs would be taken that no worker can claim."""
    keys = () if "~" in lacks else ("~*",)
    admin.execute_command("ACL", "SETUSER", USERS[0], "reset", "on", ">p", "&*", "+@all", *keys, lacks)
    redis = RedisSettings.model_validate({"url": f"redis://{USERS[0]}:p@127.0.0.1:{server.port}/0"})
    assert "permissions" in access(redis)
    with pytest.raises(Unavailable, match="permissions"):
        check_functions(redis.store_url)


def test_a_leaked_password_of_the_service_opens_nothing_else_there(redis: RedisSettings, admin: Any) -> None:
    admin.set("other:secret", "theirs")
    with connect(redis).client as client:
        for words in (
            ("GET", "other:secret"),
            ("SET", "other:secret", "x"),
            ("EVAL", "return redis.call('GET', 'other:secret')", 0),
            ("SUBSCRIBE", "other"),
            ("CONFIG", "GET", "requirepass"),
            ("ACL", "LIST"),
            ("FLUSHALL",),
            ("SHUTDOWN",),
            ("KEYS", "*"),
            ("REPLICAOF", "10.0.0.7", "6379"),
            ("MONITOR",),
        ):
            with pytest.raises((NoPermissionError, ResponseError), match=r"(?i)permission|ACL|can't access"):
                client.execute_command(*words)
    assert admin.get("other:secret") == "theirs"


@pytest.mark.usefixtures("admin")
def test_the_api_cannot_reach_what_only_workers_keep_in_the_broker(server: RedisServer) -> None:
    with connect(settings_of(server, "sightline-api")).client as client, pytest.raises(NoPermissionError):
        client.hgetall("unacked")


def test_every_command_of_every_function_is_allowed(admin: Any) -> None:
    named = set(re.findall(r"(?<=['\"])[A-Z]{2,}(?=['\"])", sources()))
    used = {word.lower() for word in named} & {name.lower() for name in admin.command()}
    assert "zrevrangebyscore" in used
    for user in USERS:
        allowed: set[str] = set()
        for rule in RULES[user]:
            if rule.startswith("+@"):
                allowed |= set(admin.acl_cat(rule[2:]))
            elif rule.startswith("+"):
                allowed.add(rule[1:])
        assert used - allowed == set()


def test_nobody_comes_in_without_a_name() -> None:
    assert RULES["default"] == ["off"]
