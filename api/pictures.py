"""What the door asks of a request's pictures, before anything is stored."""

import asyncio
from collections.abc import Sequence

from shared.addresses import check_url
from shared.blobs import BlobMissingError, Blobs, digest
from shared.errors import CallerError
from shared.pictures import check_request, inspect
from shared.request import Image, Request
from shared.settings import PictureSettings, Settings

SMALL = 64 * 2**10
"""Bytes of pictures that are read at once: handing them to a thread costs more than reading them."""


async def checked(request: Request, settings: Settings, blobs: Blobs) -> tuple[Request, dict[str, bytes]]:
    """The request with digests for its inline pictures, and their bytes by digest.

    Remote pictures are checked by their text alone. Raises CallerError `payload_too_large`, `invalid_image`,
    `invalid_image_url`, `result_expired`.
    """
    images = request.images
    limits = settings.pictures
    if len(images) > limits.max_count:
        where = images[limits.max_count].param
        raise CallerError("invalid_image", f"At most {limits.max_count} pictures per request.", param=where)
    for image in images:
        if image.url:
            check_url(image.url, settings.fetch.reach, image.param)
    inline = [i for i in images if i.data is not None]
    if not inline:
        return request, {}
    kept = [i for i in images if i.digest]
    few = not kept and sum(len(i.data or b"") for i in inline) <= SMALL
    read = (inline, kept, blobs, limits)
    names = _digests(*read) if few else await asyncio.to_thread(_digests, *read)
    left = iter(names)
    request = request.with_images(tuple(i if i.data is None else Image(digest=next(left)) for i in images))
    return request, {n: i.data or b"" for n, i in zip(names, inline, strict=True)}


def _digests(
    inline: Sequence[Image], kept: Sequence[Image], blobs: Blobs, limits: PictureSettings
) -> list[str]:
    """The names of pictures that just came; together with those of earlier turns they keep to the limits."""
    try:
        known = [inspect(blobs.read(i.digest or ""), limits, i.param) for i in kept]
    except BlobMissingError:
        message = "A picture of the earlier conversation is no longer kept."
        raise CallerError("result_expired", message, param=kept[0].param) from None
    check_request([*known, *(inspect(i.data or b"", limits, i.param) for i in inline)], limits)
    return [digest(i.data or b"") for i in inline]
