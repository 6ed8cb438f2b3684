"""What the door asks of a request's pictures and sounds, before anything is stored."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext

from shared import sounds
from shared.addresses import check_url
from shared.blobs import BlobMissingError, Blobs, digest
from shared.errors import CallerError
from shared.pictures import check_request, inspect
from shared.request import Image, Request, Sound
from shared.settings import Settings
from shared.sounds import check_count, refused_as_sound

SMALL = 64 * 2**10
"""Bytes that are read at once: handing them to a thread costs more than reading them."""


async def checked(request: Request, settings: Settings, blobs: Blobs) -> tuple[Request, dict[str, bytes]]:
    """The request with digests for its inline pictures and sounds, and their bytes by digest.

    Remote ones are checked by their text alone. Raises CallerError `payload_too_large`, `invalid_image`,
    `invalid_image_url`, `invalid_audio`, `result_expired`.
    """
    _check_places(request, settings)
    media = request.media
    inline = [part for part in media if part.data is not None]
    if not inline:
        return request, {}
    kept = [part for part in media if part.digest]
    few = not kept and sum(len(part.data or b"") for part in inline) <= SMALL
    read = (inline, kept, blobs, settings)
    names = _digests(*read) if few else await asyncio.to_thread(_digests, *read)
    left = iter(names)
    named = tuple(part if part.data is None else type(part)(digest=next(left)) for part in media)
    return request.with_media(named), {n: p.data or b"" for n, p in zip(names, inline, strict=True)}


def _check_places(request: Request, settings: Settings) -> None:
    """How many there are, and where the remote ones are."""
    images, limits = request.images, settings.pictures
    if len(images) > limits.max_count:
        where = images[limits.max_count].param
        raise CallerError("invalid_image", f"At most {limits.max_count} pictures per request.", param=where)
    check_count([sound.param for sound in request.sounds], settings.sounds)
    for part in request.media:
        with refused_as_sound() if isinstance(part, Sound) else nullcontext():
            if part.url:
                check_url(part.url, settings.fetch.reach, part.param)


def _digests(
    inline: Sequence[Image | Sound], kept: Sequence[Image | Sound], blobs: Blobs, settings: Settings
) -> list[str]:
    """The names of what just came; pictures keep to the limits together with those of earlier turns."""
    limits = settings.pictures
    seen = [part for part in kept if isinstance(part, Image)]
    try:
        known = [inspect(blobs.read(i.digest or ""), limits, i.param) for i in seen]
    except BlobMissingError:
        message = "A picture of the earlier conversation is no longer kept."
        raise CallerError("result_expired", message, param=seen[0].param) from None
    fresh = [inspect(i.data or b"", limits, i.param) for i in inline if isinstance(i, Image)]
    check_request([*known, *fresh], limits)
    for sound in inline:
        if isinstance(sound, Sound):
            sounds.inspect(sound.data or b"", settings.sounds, sound.param)
    return [digest(part.data or b"") for part in inline]
