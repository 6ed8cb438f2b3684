"""The child process that makes thumbnails of pictures: untrusted bytes in on one socket, a JPEG out.

Run as `decode_picture` is, with the same limits.
"""

import io
from typing import Any

from shared.media.decode_picture import decode, run
from shared.media.decoder_protocol import THUMBNAILS, Numbers

QUALITY = 80


def _answer(numbers: tuple[Any, ...], data: bytes) -> tuple[Numbers, list[bytes]]:
    """Without the picture's metadata, which may say where it was taken."""
    kind, width, height, side = numbers
    factor = min(1.0, side / max(width, height))
    target = max(1, round(width * factor)), max(1, round(height * factor))
    picture = decode(kind.rstrip(b"\0").decode(), (width, height), target, data, draft=True)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return (file.tell(),), [file.getvalue()]


if __name__ == "__main__":
    run(THUMBNAILS, _answer)
