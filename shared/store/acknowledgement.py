"""What an answer waits for where accepted means replicated, or on the disk: once an exchange.

On the connection of its calls, so that the server that ran them answers. `mark` is written first: Redis waits
for the last write of a connection, and a repeated call finds done what another connection wrote.
"""

from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.errors import Unavailable
from shared.settings.redis import Acknowledge

LIMIT_S = 2.0
"""Longer than Redis takes to write its file to the disk where it does so once a second."""
LIMIT_MS = round(LIMIT_S * 1000)
GONE_S = 30
"""A replica that left is demanded for this long: in a planned failover it may be the next primary, while this
server takes writes and another replica acknowledges them. Sentinels part the others from it in 1 or 2 s.
"""
NOT_ON_DISK = "the record store's disk lacks it (does it run with appendonly yes, appendfsync always?)"
_NAMES = """submit known view follow follow_first jobs statuses cancel purge settle give_back
call_claim redeliver redeliver_failed batch_create batch_cancel file_create file_delete key_create
key_rotate key_webhook key_unhook key_revoke model_add model_remove mark unload writable mark_written"""
REPORTED = frozenset(_NAMES.split())
"""Functions whose reply a caller, an operator or a webhook's receiver gets, reads of a job among them: the
worker that wrote its end may still wait. What the others write is done again where it is lost.
"""


class StoreUnreachable(Unavailable):
    """The record store cannot be used now. Where it gave no reply it may have done what was asked."""

    def __init__(self, message: str = "The record store is out of reach; try again.") -> None:
        super().__init__("store_unavailable", message, retry_after=5)


class Unacknowledged(StoreUnreachable):
    """What was asked is done, and would be lost with the server. The call is safe to repeat."""

    def __init__(self, value: Acknowledge, reached: int, needed: int) -> None:
        missing = NOT_ON_DISK if value == "disk" else f"{reached} of {needed} replicas have it"
        super().__init__(
            f"Not acknowledged: {missing} (SIGHTLINE_REDIS__ACKNOWLEDGE={value}); try again, with the "
            "same Idempotency-Key where you sent one."
        )


class MoreReplicasError(RedisConnectionError):
    """More replicas follow than were asked to acknowledge. The next exchange asks them all."""


class Acknowledgement:
    """What is sent behind the calls of an exchange, and what its two replies mean for theirs."""

    def __init__(self, value: Acknowledge, mark: tuple[Any, ...]) -> None:
        self._value, self.mark, self.asked = value, mark, 1

    @property
    def commands(self) -> tuple[tuple[Any, ...], ...]:
        wait = ("WAIT", self.asked) if self._value == "replica" else ("WAITAOF", 1, 0)
        return self.mark, (*wait, LIMIT_MS)

    @property
    def packed(self) -> bytes:
        return b"".join(map(hiredis.pack_command, self.commands))

    def checked(self, replies: Sequence[Any]) -> list[Any]:
        """Return the calls' replies, or errors if what they say may be lost."""
        *answers, needed, reached = replies
        if isinstance(needed, Exception):
            failure = needed
        else:
            asked, self.asked = self.asked, needed
            # WAITAOF answers with this server's own disk first.
            reached = reached[0] if isinstance(reached, list) else reached
            count = 0 if isinstance(reached, Exception) else reached
            if count >= needed:
                return answers
            failure = MoreReplicasError() if asked < needed else Unacknowledged(self._value, count, needed)
        return [each if isinstance(each, Exception) else failure for each in answers]
