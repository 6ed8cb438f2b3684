"""What is known about an answer before it exists: headers that also go on its error."""

from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

KEY = "sightline.reply"


@dataclass
class Reply:
    """One per request, made by `api.edge`, which adds the headers when the answer starts.

    `unread` means that a part of the body was not received: `api.edge` then closes the connection, gently.
    """

    request_id: str
    headers: dict[str, str] = field(default_factory=dict)
    unread: bool = False

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        own = {"x-request-id": self.request_id, **self.headers}
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in own.items()]


def reply_of(request: Request) -> Reply:
    return cast(Reply, request.scope[KEY])
