"""Decodes pictures in child processes (`worker.media.child`, `worker.media.pixels`).

The memory of all children together is bounded, and so are the pixels that this process holds.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.metrics.attempts import DECODE
from shared.pictures import PictureInfo, check_request, inspect
from shared.settings import PictureSettings
from worker.media.child import Children, Craft, UndecodableError
from worker.media.shelf import Files
from worker.media.shrinking import sizes
from worker.media.wire import PICTURES
from worker.places import FEWEST
from worker.room import Guest, Room

TIMED = DECODE.labels("picture")


class Decoder:
    """Decodes for the threads of one process."""

    def __init__(self, limits: PictureSettings, places: int = FEWEST) -> None:
        """For as many requests at once as there are `places`."""
        self._limits = limits
        most_pixels = int(limits.max_megapixels * 1e6)
        arguments = (limits.decode_limit_s, limits.decode_memory_mb, most_pixels)
        self._children = Children(Craft("worker.media.pixels", arguments, limits.decode_limit_s), places)
        self._memory = Room(limits.decode_memory_mb * 2**20)
        self._pixels = Room(places * limits.max_side**2)

    @contextmanager
    def decoded(self, files: Files, guest: Guest) -> Iterator[list[Picture]]:
        """A request's pictures in RGB, loaded and shrunk (`shrinking`). Waits while others hold too much.

        Raises CallerError (`invalid_image`, `payload_too_large`) naming the picture by its place.
        """
        infos = [inspect(data, self._limits, f"images[{place}]") for place, data in enumerate(files)]
        check_request(infos, self._limits)
        wanted = sizes(infos, self._limits.max_side)
        with self._pixels.taking(sum(map(math.prod, wanted)), guest):
            yield [self._decode(guest, *each) for each in zip(infos, wanted, files, strict=True)]

    def close(self) -> None:
        """End the children; nothing can be decoded afterwards."""
        self._children.close()

    def _decode(self, guest: Guest, info: PictureInfo, size: tuple[int, int], data: bytes) -> Picture:
        head = PICTURES.request.pack(info.format.encode(), info.width, info.height, *size, len(data))
        with TIMED.time(), self._memory.taking(info.memory, guest):
            try:
                found, pixels = self._children.decode(
                    head, data, PICTURES.reply, lambda width, height: width * height * 3
                )
            except UndecodableError as reason:
                message = f"The picture could not be decoded: {reason}."
                raise CallerError("invalid_image", message, param=info.param) from None
        return Image.frombytes("RGB", (found[0], found[1]), pixels)
