"""A decoder that writes more of each file than a pipe holds; it dies of one, and cuts another short."""

import os
from contextlib import suppress

from shared.media.decoder_protocol import PICTURES, Numbers, serve

DEADLY, SHORT = b"deadly", b"short"


def _decoded(_: tuple[int, ...], data: bytes) -> tuple[Numbers, tuple[bytes]]:
    if data == DEADLY:
        os.write(2, b"note: a frame is broken\nthe heap is broken, too\n")
        os.abort()
    if data == SHORT:
        return (1, 2), (b"RGB",)
    with suppress(BlockingIOError):
        while True:
            os.write(2, b"note: a frame is broken\n")
    return (1, 1), (b"RGB",)


if __name__ == "__main__":
    serve(PICTURES, _decoded, 60.0, 512)
