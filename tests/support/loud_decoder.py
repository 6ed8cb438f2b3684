"""A decoder that writes more of each file than a pipe holds, and dies of one."""

import os
from contextlib import suppress

from shared.media.decoder_protocol import Facts, Reply

DEADLY = b"deadly"


def answer(_: Facts, data: bytes) -> Reply:
    if data == DEADLY:
        os.write(2, b"note: a frame is broken\nthe heap is broken, too\n")
        os.abort()
    with suppress(BlockingIOError):
        while True:
            os.write(2, b"note: a frame is broken\n")
    return Reply.of(b"RGB")
