"""A worker thread's ear on its own claims: a cancelled run is heard of at once, not at the next renewal."""

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared.settings import RedisSettings
from shared.store.keys import channel
from shared.store.script import CONNECTION


class WorkerWakeup:
    """One subscription, for one thread."""

    def __init__(self, redis: RedisSettings, worker: str) -> None:
        self._address = channel(worker)
        client: Any = Redis.from_url(redis.store_url, **CONNECTION)
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)

    def wait(self, timeout_s: float) -> bool:
        """Until something was heard or the time is over; False at once where the store is out of reach."""
        try:
            if not self._pubsub.subscribed:
                self._pubsub.subscribe(self._address)
            self._pubsub.get_message(timeout=timeout_s)
        except RedisError:
            return False
        return True
