"""Checks a request's pictures and sounds before anything is stored."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from api.server.memory_budget import Reservation
from shared.blobs import BlobMissingError, Blobs, digest
from shared.errors import CallerError
from shared.media import sounds
from shared.media.pictures import PictureInfo, check_request, check_sizes, inspect
from shared.media.sounds import check_count, refused_as_sound
from shared.request import Image, Request, Sound
from shared.settings import PictureSettings, Settings
from shared.url_guard import check_url

# Caches facts about stored pictures, so that a conversation's pictures are not read again at every turn.

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


SMALL = 64 * 2**10
"""Up to so many bytes are read on the event loop: handing them to a thread costs more than reading them."""


@dataclass(frozen=True)
class Look:
    """A picture or sound that came inline: the name it is stored under, and facts about a picture."""

    part: Image | Sound
    name: str
    info: PictureInfo | None

    @property
    def place(self) -> tuple[int, str]:
        """Its size in bytes, and the field it came in."""
        return len(self.part.data or b""), self.part.param


class Checked(NamedTuple):
    """A request with digests for its inline pictures and sounds, their bytes by digest, and the pixels of all
    pictures that are here; 0 where none came inline, as those of earlier turns are not read for that alone.
    """

    request: Request
    data: dict[str, bytes]
    pixels: int


async def checked(
    request: Request, settings: Settings, album: Album, reservation: Reservation | None
) -> Checked:
    """Check the pictures and sounds, and name the inline ones by their digests.

    Of remote ones only the URL is checked. Raises CallerError `payload_too_large`, `invalid_image`,
    `invalid_image_url`, `invalid_audio`, `result_expired`, Unavailable `queue_full`, `store_unavailable`.
    """
    _check_places(request, settings)
    media = request.media
    inline = [part for part in media if part.data is not None]
    if not inline:
        return Checked(request, {}, 0)
    few = sum(len(part.data or b"") for part in inline) <= SMALL
    looks = _looks(inline, settings) if few else await asyncio.to_thread(_looks, inline, settings)
    kept = [image for image in request.images if image.digest]
    pixels = await _check_together(kept, looks, settings, album, reservation)
    left = iter(looks)
    named = tuple(part if part.data is None else type(part)(digest=next(left).name) for part in media)
    return Checked(request.with_media(named), {look.name: look.part.data or b"" for look in looks}, pixels)


def _check_places(request: Request, settings: Settings) -> None:
    """Check how many there are, and the URLs of the remote ones."""
    images, limits = request.images, settings.pictures
    if len(images) > limits.max_count:
        where = images[limits.max_count].param
        raise CallerError("invalid_image", f"At most {limits.max_count} pictures per request.", param=where)
    check_count([sound.param for sound in request.sounds], settings.sounds)
    for part in request.media:
        with refused_as_sound() if isinstance(part, Sound) else nullcontext():
            if part.url:
                check_url(part.url, settings.fetch.reach, part.param)


def _looks(inline: Sequence[Image | Sound], settings: Settings) -> list[Look]:
    """Raises CallerError for the first that is unusable on its own."""
    return [Look(part, digest(part.data or b""), _info(part, settings)) for part in inline]


def _info(part: Image | Sound, settings: Settings) -> PictureInfo | None:
    if isinstance(part, Image):
        return inspect(part.data or b"", settings.pictures, part.param)
    sounds.check_sound(part.data or b"", settings.sounds, part.param)
    return None


async def _check_together(
    kept: Sequence[Image],
    looks: Sequence[Look],
    settings: Settings,
    album: Album,
    reservation: Reservation | None,
) -> int:
    """Check new pictures and those of earlier turns against the limits; the same bytes count once.

    Returns the pixels of all of them.
    """
    limits, new = settings.pictures, [(look, look.info) for look in looks if look.info is not None]
    try:
        sizes = await album.sizes({image.digest or "" for image in kept})
        places = {i.digest: (sizes[i.digest or ""], i.param) for i in kept}
        check_sizes((places | {look.name: look.place for look, _ in new}).values(), limits)
        known = await album.infos(kept, sizes, reservation)
    except BlobMissingError:
        message = "A picture of the earlier conversation is no longer kept."
        raise CallerError("result_expired", message, param=kept[0].param) from None
    infos = [*known, *(info for _, info in new)]
    check_request(infos, limits)
    for look, info in new:
        album.add(look.name, info)
    return sum(info.pixels for info in infos)
