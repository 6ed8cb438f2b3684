"""Who is calling, as the handlers ask; `api.gate` found out."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from shared.apikey import ApiKey

KEY = "sightline.caller"


@dataclass(frozen=True)
class Caller:
    """The tenant whose jobs a request sees.

    `max_queued` and `retain_s` are what its `key` says of its own line, and of how long its things are kept;
    without keys there is none.
    """

    id: str
    max_queued: int | None = None
    retain_s: int | None = None
    key: ApiKey | None = None


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.scope[KEY])
