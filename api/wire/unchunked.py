"""Answers without a length, to who speaks HTTP/1.0: nginx does, unless it is told otherwise."""

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unchunked(cycle: RequestResponseCycle, send: Send) -> Send:
    """`send` of this cycle, which would send chunks: such an answer ends with its connection instead.

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
            # uvicorn looks whether as much comes as is still to come.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return respond
