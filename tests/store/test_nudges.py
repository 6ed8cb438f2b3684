"""Nudges: what we write on the broker's list is of what Celery itself would have written there."""

import base64
import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store.nudges import TASK, AsyncNudger, Nudger, envelope
from tests.support.ports import free_port

LANE = "model.org--model"


@pytest.fixture
def broker(redis_settings: RedisSettings) -> Iterator[Any]:
    with Redis.from_url(redis_settings.broker_url, decode_responses=True) as client:
        yield client


def published_by_celery(redis: RedisSettings, broker: Any) -> dict[str, Any]:
    app = Celery(broker=redis.broker_url, set_as_current=False)
    with app.connection_for_write() as connection:
        app.send_task(TASK, args=(LANE,), queue=LANE, connection=connection)
    app.close()
    message: dict[str, Any] = json.loads(broker.rpop(LANE))
    return message


def test_a_nudge_says_nothing_that_celery_would_not_publish(
    redis_settings: RedisSettings, broker: Any
) -> None:
    ours, theirs = json.loads(envelope(LANE)), published_by_celery(redis_settings, broker)
    assert ours.keys() == theirs.keys()
    assert json.loads(ours["body"]) == json.loads(base64.b64decode(theirs["body"]))
    for message in (ours, theirs):
        ids = [message["headers"].pop(name) for name in ("id", "root_id")]
        assert len({*ids, message["properties"].pop("correlation_id")}) == 1
        assert message["properties"].pop("delivery_tag")
    for part in ("headers", "properties"):
        assert ours[part].items() <= theirs[part].items()


def test_every_nudge_has_ids_of_its_own() -> None:
    messages = [json.loads(envelope(LANE)) for _ in range(3)]
    assert len({m["headers"]["id"] for m in messages}) == 3
    assert len({m["properties"]["delivery_tag"] for m in messages}) == 3


def test_sent_nudges_wait_on_the_lane_s_list_until_taken(redis_settings: RedisSettings, broker: Any) -> None:
    nudger = Nudger(redis_settings)
    assert nudger.send(LANE)
    assert nudger.send(LANE, 2)
    assert nudger.listed(LANE) == 3
    assert json.loads(broker.rpop(LANE))["headers"]["task"] == TASK
    assert nudger.listed(LANE) == 2
    assert broker.dbsize() == 1


async def test_the_api_sends_one_nudge_a_run(redis_settings: RedisSettings, broker: Any) -> None:
    nudger = AsyncNudger(redis_settings)
    assert await nudger.send([LANE, "intake", LANE])
    await nudger.aclose()
    assert (broker.llen(LANE), broker.llen("intake")) == (2, 1)


async def test_a_nudge_that_cannot_be_made_fails_no_job_that_was_accepted(
    redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("shared.store.nudges.envelope", full)
    assert not Nudger(redis_settings).send(LANE)
    nudger = AsyncNudger(redis_settings)
    assert not await nudger.send([LANE])
    await nudger.aclose()


async def test_a_broker_out_of_reach_fails_no_submission() -> None:
    nowhere = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{free_port()}/0"})
    assert not Nudger(nowhere).send(LANE)
    nudger = AsyncNudger(nowhere)
    assert not await nudger.send([LANE])
    await nudger.aclose()


@contextmanager
def demoted(broker: Any) -> Iterator[None]:
    """The server is a replica, and keeps the connections that it has."""
    broker.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        broker.replicaof("NO", "ONE")


async def test_an_operator_is_told_once_that_nudges_wait(
    redis_settings: RedisSettings, broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    threads, tasks = Nudger(redis_settings), AsyncNudger(redis_settings)
    with demoted(broker):
        for _ in range(3):
            assert not threads.send(LANE)
            assert not await tasks.send([LANE, "intake"])
        with pytest.raises(Unavailable, match="takes no writes now"):
            threads.listed(LANE)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [("WARNING", "nudges wait: The record store takes no writes now; try again.")] * 2
    assert threads.send(LANE)
    assert await tasks.send([LANE])
    assert threads.listed(LANE) == 2
    await tasks.aclose()
