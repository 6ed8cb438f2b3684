"""Answers of unknown length for HTTP/1.0 clients, which know no chunks; nginx is one by default."""

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unchunked(cycle: RequestResponseCycle, send: Send) -> Send:
    """A `send` that never chunks: an answer without a length ends with its connection instead.

    RFC 9112, sections 6.1 and 6.3.
    """
    measured = True

    async def respond(message: Message) -> None:
        nonlocal measured
        if message["type"] == "http.response.start":
            measured = any(name.lower() == b"content-length" for name, _ in message["headers"])
            if not measured:
                cycle.chunked_encoding = False
        elif not measured:
            # uvicorn checks that what comes matches the length it expects.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return respond
