"""Decodes pictures in child processes (`worker.media.decoder_process`, `worker.media.decode_picture`).

The memory of all children together is bounded, and so are the pixels that this process holds."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.media.pictures import PictureInfo, check_request, inspect
from shared.metrics.counters import DECODE
from shared.settings import PictureSettings
from worker.fair_share import FEWEST, FairSemaphore, Waiter
from worker.media.blob_reader import Files
from worker.media.decoder_process import Children, Craft, UndecodableError
from worker.media.decoder_protocol import PICTURES

# Decides to what size a request's pictures are shrunk before the model gets them.
#
# An image processor may pad a picture to a square or scale its shorter side, in floating point: that turns a
# file of a few kilobytes, 40000 x 800, into 16 GB.


def sizes(infos: Sequence[PictureInfo], max_side: int) -> list[tuple[int, int]]:
    """Width and height of each as stored: no side longer than `max_side`, and all together no more pixels
    than one square of that side has. The largest give first, so that a stamp beside a poster stays as it is.
    """
    factors = [min(1.0, max_side / max(info.width, info.height)) for info in infos]
    most = _share([info.pixels * f * f for info, f in zip(infos, factors, strict=True)], max_side**2)
    return [
        _size(info, min(f, math.sqrt(most / info.pixels))) for info, f in zip(infos, factors, strict=True)
    ]


def _share(pixels: Sequence[float], total: int) -> float:
    """The most pixels that each picture may have, so that together they have at most `total`."""
    left: float = total
    for number, wanted in enumerate(sorted(pixels)):
        share = left / (len(pixels) - number)
        if wanted > share:
            return share
        left -= wanted
    return total


def _size(info: PictureInfo, factor: float) -> tuple[int, int]:
    return max(1, round(info.width * factor)), max(1, round(info.height * factor))


DURATION = DECODE.labels("picture")


class PictureDecoder:
    """Decodes for the threads of one process."""

    def __init__(self, limits: PictureSettings, places: int = FEWEST) -> None:
        """For as many requests at once as there are `places`."""
        self._limits = limits
        most_pixels = int(limits.max_megapixels * 1e6)
        arguments = (limits.decode_limit_s, limits.decode_memory_mb, most_pixels)
        self._children = Children(
            Craft("worker.media.decode_picture", arguments, limits.decode_limit_s), places
        )
        self._memory = FairSemaphore(limits.decode_memory_mb * 2**20)
        self._pixels = FairSemaphore(places * limits.max_side**2)

    @contextmanager
    def decoded(self, files: Files, guest: Waiter) -> Iterator[list[Picture]]:
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

    def _decode(self, guest: Waiter, info: PictureInfo, size: tuple[int, int], data: bytes) -> Picture:
        head = PICTURES.request.pack(info.format.encode(), info.width, info.height, *size, len(data))
        with DURATION.time(), self._memory.taking(info.memory, guest):
            try:
                found, pixels = self._children.decode(
                    head, data, PICTURES.reply, lambda width, height: width * height * 3
                )
            except UndecodableError as reason:
                message = f"The picture could not be decoded: {reason}."
                raise CallerError("invalid_image", message, param=info.param) from None
        return Image.frombytes("RGB", (found[0], found[1]), pixels)
