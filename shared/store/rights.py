"""Whether a process can begin: what our user may do at the record store, and whose records are there."""

from typing import Any

from redis.exceptions import ResponseError

from shared.settings import RedisSettings
from shared.store.models import registered
from shared.store.script import connect, store_errors

UNKNOWN_COMMAND = "unknown command"
"""What a server without Redis Functions says of FCALL."""


def refusal(redis: RedisSettings) -> str:
    """In the server's words; "" where it refuses nothing. Raises Unavailable."""
    store = connect(redis)
    try:
        store.run(registered())
    except ResponseError as error:
        return str(error)
    finally:
        store.client.close()
    return ""


FORMER = "sl2:"
"""The prefix of the layout before this one, which nobody reads any more."""


def former_layout(client: Any) -> bool:
    """Whether a server holds records of the former layout; a user that may not look sees none.

    Raises Unavailable.
    """
    with store_errors():
        try:
            return bool(client.exists(f"{FORMER}lanes", f"{FORMER}watched"))
        except ResponseError:
            return False


def holds_former_layout(redis: RedisSettings) -> bool:
    """The same for the record store of these settings. Raises Unavailable."""
    store = connect(redis)
    try:
        return former_layout(store.client)
    finally:
        store.client.close()
