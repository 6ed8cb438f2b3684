"""Celery hands out nudges over every outage of the broker."""

from contextlib import suppress
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from shared.settings import RedisSettings
from shared.store.nudges import Nudger
from tests.support.redis_server import RedisServer
from worker.celery_app import QuickConsumer, make_app


def test_a_broker_lost_before_a_nudge_was_acknowledged_does_not_end_the_worker(redis: RedisServer) -> None:
    settings = RedisSettings(url=redis.url())
    nudger = Nudger(settings)
    nudger.send("lane")
    nudger._client.close()
    consumer = object.__new__(QuickConsumer)
    consumer.__dict__.update(app=make_app("test", settings), amqheartbeat=0, hub=None)
    connection = consumer.connect()
    channel = connection.default_channel
    assert channel.basic_get("lane") is not None

    for each in (channel, connection.channel()):
        vars(each).update(_in_poll=True, _brpop_read=partial(lost, each))
    # What Celery does with a broken connection, in this order.
    with suppress(RedisConnectionError):
        connection.collect()
    connection.close()
    assert channel.closed


def lost(channel: Any) -> None:
    """Reading what a channel waits for, when the broker is gone."""
    channel._in_poll = None
    raise RedisConnectionError
