"""A decoder that writes more of each file than a pipe holds; it dies of one, and cuts another short."""

import os
from contextlib import suppress

from shared.media.decoder_protocol import Facts, Reply

DEADLY, SHORT = b"deadly", b"short"


def answer(_: Facts, data: bytes) -> Reply:
    if data == DEADLY:
        os.write(2, b"note: a frame is broken\nthe heap is broken, too\n")
        os.abort()
    if data == SHORT:
        return Reply({}, 6, (b"RGB",))
    with suppress(BlockingIOError):
        while True:
            os.write(2, b"note: a frame is broken\n")
    return Reply.of(b"RGB")
