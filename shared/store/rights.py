"""Whether the record store lets our user do what each process begins with."""

from redis.exceptions import ResponseError

from shared.settings import RedisSettings
from shared.store.models import registered
from shared.store.script import connect

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
