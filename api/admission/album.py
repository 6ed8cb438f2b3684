"""Caches facts about stored pictures, so that a conversation's pictures are not read again at every turn."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from api.wire.reservation import Reservation
from shared.blobs import Blobs
from shared.pictures import PictureInfo, inspect
from shared.request import Image
from shared.settings import PictureSettings

KEPT = 2**13
"""Pictures remembered at a time, half a kilobyte each."""
SIZES_AT_ONCE = 8
"""Look-ups of one request at a time: a long conversation must not take all threads of a slow store."""


class Album:
    """One per process. No entry goes stale, as bytes under a digest never change; but they may be gone."""

    def __init__(self, limits: PictureSettings, blobs: Blobs) -> None:
        self._limits = limits
        self._blobs = blobs
        self._known: dict[str, PictureInfo] = {}

    def add(self, name: str, info: PictureInfo) -> None:
        self._known.pop(name, None)
        self._known[name] = info
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    async def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Sizes in bytes, without reading the pictures. Raises BlobMissingError, BlobsUnavailable."""
        turns = asyncio.Semaphore(SIZES_AT_ONCE)

        async def size(name: str) -> int:
            async with turns:
                return await self._blobs.size_async(name)

        return dict(zip(names, await asyncio.gather(*map(size, names)), strict=True))

    async def infos(
        self, shown: Sequence[Image], sizes: dict[str, int], reservation: Reservation | None
    ) -> list[PictureInfo]:
        """Facts about the pictures `shown`; those not yet known are read, one at a time.

        Raises CallerError as `inspect`, BlobMissingError, BlobsUnavailable, Unavailable `queue_full`.
        """
        new = {image.digest or "": image.param for image in shown if image.digest not in self._known}
        found = {name: self._known[name] for name in sizes if name in self._known}
        if new and reservation is not None:
            await reservation.take(max(sizes[name] for name in new))
        for name, param in new.items():
            data = await self._blobs.read_async(name)
            found[name] = await asyncio.to_thread(inspect, data, self._limits, param)
            self.add(name, found[name])
        return [replace(found[image.digest or ""], param=image.param) for image in shown]
