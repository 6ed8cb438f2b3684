"""Who is calling, as the handlers ask; `api.gate` found out."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

KEY = "sightline.caller"


@dataclass(frozen=True)
class Caller:
    """The tenant whose jobs a request sees; `max_queued` is what its key says of its own line, if it does."""

    id: str
    max_queued: int | None = None


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.scope[KEY])
