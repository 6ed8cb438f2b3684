"""Checks a request's media before anything is stored."""

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from api.server.memory_budget import Reservation
from shared.blobs import BlobMissingError, Blobs, digest
from shared.errors import CallerError
from shared.media import pictures
from shared.media.files import KINDS, inspect_file
from shared.media.pictures import PictureInfo, check_sizes, inspect
from shared.models import Model
from shared.request import Document, Image, Medium, Request, Sound, Video
from shared.settings import FetchSettings, PictureSettings, Settings
from shared.url_guard import check_url, is_in_bucket, refused_as

CACHED_PICTURES = 2**13
"""Pictures whose facts are remembered at a time, half a kilobyte each."""
SIZES_AT_ONCE = 8
"""Look-ups of one request at a time: a long conversation must not take all threads of a slow store."""
SMALL = 64 * 2**10
"""Up to so many bytes are read on the event loop: handing them to a thread costs more than reading them."""


class PictureInfoCache:
    """Facts about stored pictures, so that a conversation's pictures are not read again at every turn.

    One per process. No entry goes stale, as bytes under a digest never change; but they may be gone.
    """

    def __init__(self, limits: PictureSettings, blobs: Blobs) -> None:
        self._limits = limits
        self._blobs = blobs
        self._known: dict[str, PictureInfo] = {}

    def add(self, name: str, info: PictureInfo) -> None:
        self._known.pop(name, None)
        self._known[name] = info
        if len(self._known) > CACHED_PICTURES:
            del self._known[next(iter(self._known))]

    async def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Sizes in bytes, without reading the pictures. Raises BlobMissingError, BlobsUnavailable."""
        limit = asyncio.Semaphore(SIZES_AT_ONCE)

        async def size(name: str) -> int:
            async with limit:
                return await self._blobs.in_thread(self._blobs.size, name)

        return dict(zip(names, await asyncio.gather(*map(size, names)), strict=True))

    async def infos(
        self, images: Sequence[Image], sizes: dict[str, int], reservation: Reservation | None
    ) -> list[PictureInfo]:
        """Facts about `images`; those not yet known are read, one at a time.

        Raises CallerError as `inspect`, BlobMissingError, BlobsUnavailable, Unavailable `queue_full`.
        """
        new = {image.digest or "": image.param for image in images if image.digest not in self._known}
        infos = {name: self._known[name] for name in sizes if name in self._known}
        if new and reservation is not None:
            await reservation.take(max(sizes[name] for name in new))
        for name, param in new.items():
            data = await self._blobs.in_thread(self._blobs.read, name)
            infos[name] = await asyncio.to_thread(inspect, data, self._limits, param)
            self.add(name, infos[name])
        return [replace(infos[image.digest or ""], param=image.param) for image in images]


@dataclass(frozen=True)
class Upload:
    """A medium that came inline: the digest it is stored under, and facts about a picture."""

    part: Medium
    digest: str
    info: PictureInfo | None

    @property
    def data(self) -> bytes:
        return self.part.data or b""


async def check_media(
    request: Request, settings: Settings, cache: PictureInfoCache, reservation: Reservation | None
) -> tuple[Request, dict[str, bytes], int]:
    """Check the media that are here, and name the inline ones by their digests.

    Returns the request with digests for its inline media, their bytes by digest, and the pixels of all
    pictures that are here; 0 where none came inline, as those of earlier turns are not read for that alone.

    Raises CallerError `payload_too_large`, `invalid_image`, `invalid_audio`, `invalid_video`,
    `result_expired`, Unavailable `queue_full`, `store_unavailable`.
    """
    inline = [p for p in request.media if p.data is not None and not isinstance(p, Document)]
    if not inline:
        return request, {}, 0
    small = sum(len(part.data or b"") for part in inline) <= SMALL
    uploads = _inspect(inline, settings) if small else await asyncio.to_thread(_inspect, inline, settings)
    stored = [image for image in request.images if image.digest]
    pixels = await _check_pictures(stored, uploads, settings.pictures, cache, reservation)
    digests = iter([upload.digest for upload in uploads])
    media = tuple(p if p.data is None else type(p)(digest=next(digests)) for p in request.media)
    return request.with_media(media), {u.digest: u.data for u in uploads}, pixels


def check_counts_and_urls(request: Request, model: Model, settings: Settings, caller: str) -> None:
    """Raises CallerError `invalid_image`, `invalid_image_url`, `invalid_audio`, `invalid_video`."""
    media = request.media
    for kind in (Image, Sound, Video) if media else ():
        params = [part.param for part in media if isinstance(part, kind)]
        of_model = model.max_pictures if kind is Image else None
        KINDS[kind].check_count(params, KINDS[kind].limits(settings), of_model)
    for image in request.shown:
        pictures.check_look(image, settings.pictures)
    for part in media:
        if part.url:
            with refused_as(KINDS[type(part)].url_code):
                _check_source(part.url, settings.fetch, caller, part.param)


def _check_source(url: str, settings: FetchSettings, caller: str, param: str) -> None:
    if is_in_bucket(url):
        settings.bucket_rules.check(url, caller, param)
    else:
        check_url(url, settings.reach, param)


def _inspect(inline: Sequence[Medium], settings: Settings) -> list[Upload]:
    """Raises CallerError for the first that is unusable on its own."""
    return [
        Upload(part, digest(data), inspect_file(type(part), data, settings, part.param))
        for part in inline
        if (data := part.data) is not None
    ]


async def _check_pictures(
    stored: Sequence[Image],
    uploads: Sequence[Upload],
    limits: PictureSettings,
    cache: PictureInfoCache,
    reservation: Reservation | None,
) -> int:
    """Check new pictures and those of earlier turns against the limits; the same bytes count once.

    Returns the pixels of all of them.
    """
    new = [(upload, upload.info) for upload in uploads if upload.info is not None]
    try:
        sizes = await cache.sizes({image.digest or "" for image in stored}) if stored else {}
        earlier = {image.digest or "": (sizes[image.digest or ""], image.param) for image in stored}
        check_sizes((earlier | {u.digest: (len(u.data), u.part.param) for u, _ in new}).values(), limits)
        cached = await cache.infos(stored, sizes, reservation)
    except BlobMissingError:
        message = "A picture of the earlier conversation is no longer kept."
        raise CallerError("result_expired", message, param=stored[0].param) from None
    infos = [*cached, *(info for _, info in new)]
    for upload, info in new:
        cache.add(upload.digest, info)
    room = pictures.room([info.size for info in infos], limits)
    return sum(math.prod(room.fitted(info.size)) for info in infos)
