"""Decodes pictures in child processes (`shared.media.decoder_process`, `shared.media.decode_picture`).

The memory of all children together is bounded, and so are the pixels that this process holds. A decompression
bomb is refused before, by its header: `shared/media/decompression_bombs.py` (`check_pixels`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from shared.blobs import digest
from shared.media import machine_memory, pictures
from shared.media.decoder_process import DecoderPool
from shared.media.decompression_bombs import SHOWN_BYTES
from shared.media.pictures import PICTURE, PictureInfo, decoding, inspect
from shared.metrics.decoder_counters import DECODE
from shared.request import Image
from shared.settings import PictureSettings
from worker.engines.base import PackedPicture
from worker.fair_semaphore import MIN_CONCURRENCY, FairSemaphore, Waiter
from worker.media.blob_reader import Files

DURATION = DECODE.labels("picture")


class PictureDecoder:
    def __init__(self, limits: PictureSettings, places: int = MIN_CONCURRENCY) -> None:
        self._limits = limits
        self._pool = DecoderPool(PICTURE, "shared.media.decode_picture", limits, places)
        self.close = self._pool.close
        self._large = FairSemaphore(machine_memory.AT_ONCE)
        self._pixels = FairSemaphore(int(limits.max_megapixels_request * 1e6))

    def memory(self, files: Files, shown: Sequence[Image] = ()) -> int:
        """Read a request's pictures, and return the bytes that decoding one takes at most.

        Raises CallerError as `decode`.
        """
        grown = max((look.min_pixels or 0 for look in shown), default=0) * SHOWN_BYTES
        return max((info.memory for info in self._infos(files)), default=0) + grown

    @contextmanager
    def place(self, memory: int, waiter: Waiter) -> Iterator[None]:
        """Hold a place of this machine for decoding if it takes much `memory`."""
        with self._large.reserve(memory > machine_memory.LARGE, waiter):
            began = time.monotonic()
            with machine_memory.reserved(memory):
                waiter.waited_s += time.monotonic() - began
                yield

    @contextmanager
    def decode(
        self, files: Files, waiter: Waiter, shown: Sequence[Image] = ()
    ) -> Iterator[list[PackedPicture]]:
        """A request's pictures in RGB, loaded, and shrunk where they are larger than a setting or what is
        `shown` says.

        Waits while others hold too much. Raises CallerError (`invalid_image`, `payload_too_large`) naming
        the picture by its place.
        """
        infos = self._infos(files)
        PICTURE.check_count([info.param for info in infos], self._limits)
        sizes = [info.size for info in infos]
        looks = shown or [Image()] * len(infos)
        rooms = pictures.rooms(sizes, looks, self._limits)
        # As squares, to which a processor may pad them, one after the other.
        squares = sum(max(room.fitted(size)) ** 2 for room, size in zip(rooms, sizes, strict=True))
        decoded: dict[tuple[Any, ...], PackedPicture] = {}
        names = []
        with self._pixels.reserve(squares, waiter):
            for info, data, room, look in zip(infos, files, rooms, looks, strict=True):
                # One that comes several times, as in a conversation, is decoded once.
                names.append((digest(data) if len(infos) > 1 else "", room, look.background))
                if names[-1] not in decoded:
                    request = decoding(info, room, background=look.background or "")
                    decoded[names[-1]] = self._decode_one(info, request, data)
            yield [decoded[name] for name in names]

    def _infos(self, files: Files) -> list[PictureInfo]:
        return [inspect(data, self._limits, f"images[{place}]") for place, data in enumerate(files)]

    def _decode_one(self, info: PictureInfo, request: dict[str, Any], data: bytes) -> PackedPicture:
        with DURATION.time():
            facts, pixels = self._pool.decode(data, info.param, **request)
        (width, height), (across, down) = facts["size"], facts["original"]
        return PackedPicture((width, height), pixels, (across, down))
