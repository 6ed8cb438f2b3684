"""What stands behind a body is no header: whoever looks at heads in front of the service has not seen it."""

from typing import Any

import pytest

from tests.routes.test_protocol import asked

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
OFFER = b"Upgrade: h2c\r\nConnection: Upgrade\r\n"
TRAILERS = (
    b"Authorization: Bearer late\r\nIdempotency-Key: late\r\nHost: late.example\r\nOrigin: http://late.example\r\n"
    b"Content-Encoding: late\r\nX-Forwarded-For: late\r\n"
)


async def told(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's headers, once all of it is in."""
    while (await receive()).get("more_body"):
        pass
    body = b"\n".join(b"%s: %s" % header for header in scope["headers"])
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("head", [HEAD, HEAD + OFFER], ids=["plain", "with an offer"])
async def test_nobody_is_let_in_or_turned_away_for_what_stands_behind_a_body(head: bytes) -> None:
    sent = head + b"\r\n2\r\n{}\r\n0\r\n" + TRAILERS + b"\r\n"
    status, _, body = await asked(sent, app=told, ws="none")
    assert (status, b"host: localhost" in body, b"late" in body) == (200, True, False)
