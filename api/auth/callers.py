"""Who makes a request, for its handlers; `api.auth.middleware` has found it out."""

from typing import cast

from fastapi import Request

from shared.api_keys import ApiKey
from shared.errors import CallerError
from shared.value_object import value_object

KEY = "sightline.caller"


@value_object
class Caller:
    """The tenant whose jobs a request sees.

    `max_queued` and `retain_s` come from its `key`: how many of its jobs may wait, and how long its things
    are kept. Without keys there is none.
    """

    id: str
    max_queued: int | None = None
    retain_s: int | None = None
    key: ApiKey | None = None

    @property
    def reads(self) -> bool:
        """Whether it may see answers to earlier requests, and not only to the one it makes now."""
        return self.key is None or "read" in self.key.scopes

    def check_reads(self) -> None:
        """Raises CallerError `insufficient_scope`."""
        if not self.reads:
            message = "This API key lacks the scope `read`: who goes on from an earlier answer reads it."
            raise CallerError("insufficient_scope", message)


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.scope[KEY])
