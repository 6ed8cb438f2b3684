"""Decodes pictures in child processes (`shared.media.decoder_process`, `shared.media.decode_picture`).

The memory of all children together is bounded, and so are the pixels that this process holds."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shared.blobs import digest
from shared.errors import CallerError
from shared.media.decoder_process import DecoderPool, DecoderSpec, UndecodableError
from shared.media.decoder_protocol import PICTURES
from shared.media.pictures import PictureInfo, check_request, inspect
from shared.metrics.counters import DECODE
from shared.settings import PictureSettings
from worker.engines.base import PackedPicture
from worker.fair_share import MIN_CONCURRENCY, FairSemaphore, Waiter
from worker.media.blob_reader import Files

DURATION = DECODE.labels("picture")


class PictureDecoder:
    """Decodes for the threads of one process."""

    def __init__(self, limits: PictureSettings, places: int = MIN_CONCURRENCY) -> None:
        """For as many requests at once as there are `places`."""
        self._limits = limits
        max_pixels = int(limits.max_megapixels * 1e6)
        arguments = (limits.decode_limit_s, limits.decode_memory_mb, max_pixels)
        self._pool = DecoderPool(
            DecoderSpec("shared.media.decode_picture", arguments, limits.decode_limit_s), places
        )
        self._memory = FairSemaphore(limits.decode_memory_mb * 2**20)
        self._pixels = FairSemaphore(int(limits.max_megapixels_request * 1e6))

    @contextmanager
    def decode(self, files: Files, waiter: Waiter) -> Iterator[list[PackedPicture]]:
        """A request's pictures in RGB, loaded, and shrunk where a setting says so.

        Waits while others hold too much. Raises CallerError (`invalid_image`, `payload_too_large`) naming
        the picture by its place.
        """
        infos = [inspect(data, self._limits, f"images[{place}]") for place, data in enumerate(files)]
        check_request(infos, self._limits)
        targets = shrunk_sizes(infos, self._limits.max_side)
        # As squares, to which a processor may pad them, one after the other.
        squares = sum(max(target) ** 2 for target in targets)
        pictures: dict[tuple[str, tuple[int, int]], PackedPicture] = {}
        keys = []
        with self._pixels.reserve(squares, waiter):
            for info, target, data in zip(infos, targets, files, strict=True):
                # One that comes several times, as in a conversation, is decoded once.
                keys.append((digest(data) if len(infos) > 1 else "", target))
                if keys[-1] not in pictures:
                    pictures[keys[-1]] = self._decode_one(waiter, info, target, data)
            yield [pictures[key] for key in keys]

    def close(self) -> None:
        """End the processes; nothing can be decoded afterwards."""
        self._pool.close()

    def _decode_one(
        self, waiter: Waiter, info: PictureInfo, target: tuple[int, int], data: bytes
    ) -> PackedPicture:
        head = PICTURES.request.pack(info.format.encode(), info.width, info.height, *target, len(data))
        with DURATION.time(), self._memory.reserve(info.memory, waiter):
            try:
                size, pixels = self._pool.decode(
                    head, data, PICTURES.reply, lambda width, height: width * height * 3
                )
            except UndecodableError as error:
                message = f"The picture could not be decoded: {error}."
                raise CallerError("invalid_image", message, param=info.param) from None
        return PackedPicture((size[0], size[1]), pixels)


def shrunk_sizes(infos: Sequence[PictureInfo], max_side: int | None) -> list[tuple[int, int]]:
    """Width and height of each as the model gets it: as it is where there is no `max_side`.

    No side is longer than that, and all together have no more pixels than one square of that side. The
    largest shrink first, so that a stamp next to a poster stays as it is.
    """
    if max_side is None:
        return [(info.width, info.height) for info in infos]
    factors = [min(1.0, max_side / max(info.width, info.height)) for info in infos]
    most = _share([info.pixels * f * f for info, f in zip(infos, factors, strict=True)], max_side**2)
    return [
        _size(info, min(f, math.sqrt(most / info.pixels))) for info, f in zip(infos, factors, strict=True)
    ]


def _share(pixels: Sequence[float], total: int) -> float:
    """The most pixels that each picture may have, so that together they have at most `total`."""
    remaining: float = total
    for number, count in enumerate(sorted(pixels)):
        share = remaining / (len(pixels) - number)
        if count > share:
            return share
        remaining -= count
    return total


def _size(info: PictureInfo, factor: float) -> tuple[int, int]:
    return max(1, round(info.width * factor)), max(1, round(info.height * factor))
