"""Who is woken: what readers of streams, callers that wait and workers would hear."""

from typing import Any

from shared.store.keys import channel


class Ear:
    """Hears whatever any of them listens to."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.psubscribe(channel("*"))
        self._pubsub.get_message(timeout=None)

    def woken(self) -> set[str]:
        """Runs, jobs and workers that were told of something since the last look."""
        heard: set[str] = set()
        self._client.publish(channel("everybody"), "")
        while "everybody" not in heard:
            message = self._pubsub.get_message(timeout=None)
            heard.add(message["channel"].removeprefix(channel("")))
        return heard

    def close(self) -> None:
        self._pubsub.close()
