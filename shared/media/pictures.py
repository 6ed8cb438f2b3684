"""What a picture file says about itself, read from its first bytes alone, and how large it is shown.

The pixels that a few header bytes promise are checked before anything allocates for them. A decoder finds
out the rest.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from shared.errors import CallerError
from shared.media.decompression_bombs import check_pixels, decoding_memory
from shared.media.kinds import Kind
from shared.media.picture_headers import MalformedError, PictureFormat, header_of, picture_format
from shared.media.sizes import Room, Size, room_for
from shared.request import Image, Look
from shared.settings import PictureSettings

UNANNOUNCED = 2**22
"""Pixels that a picture may have whatever its header says: a GIF may be larger than its screen."""


@dataclass(frozen=True)
class PictureInfo:
    """Size in pixels as stored: an EXIF orientation may still swap width and height.

    Decoding takes about `memory` bytes for `most` pixels, for a JPEG at a `draft` of its size; `param` names
    where in the request the picture stood.
    """

    format: PictureFormat
    width: int
    height: int
    memory: int = field(default=0, compare=False)
    draft: int = field(default=1, compare=False)
    most: int = field(default=0, compare=False)
    param: str | None = field(default=None, compare=False)

    @property
    def size(self) -> Size:
        return self.width, self.height

    @property
    def media_type(self) -> str:
        return f"image/{self.format.lower()}".replace("svg", "svg+xml")


PICTURE = Kind(
    "picture",
    "invalid_image",
    "invalid_image_url",
    "a JPEG, PNG, WebP, GIF, HEIC, AVIF, BMP, ICO, TIFF or SVG",
    "image/png, image/jpeg, image/webp, image/gif",
    picture_format,
)


def inspect(data: bytes, limits: PictureSettings, param: str | None) -> PictureInfo:
    """Read the header of one picture; of several in a file the first counts.

    Raises CallerError: `payload_too_large` for too many bytes, `invalid_image` for all else, never quoting
    the picture.
    """
    kind = cast(PictureFormat, PICTURE.check(data, limits, param))
    try:
        header = header_of(kind, data)
        check_pixels(kind, header, limits)
        draft, most, memory = decoding_memory(kind, header, limits, len(data))
    except MalformedError as error:
        raise PICTURE.invalid(str(error), param) from None
    except IndexError:
        raise PICTURE.invalid("it is cut short", param) from None
    return PictureInfo(kind, header.width, header.height, memory, draft, most, param)


def rooms(sizes: Sequence[Size], shown: Sequence[Look], limits: PictureSettings) -> list[Room]:
    """How large each picture of a request is shown, where they have these sizes and are to be `shown` so."""
    wishes = [Room(math.inf, look.max_pixels or math.inf, look.min_pixels or 0) for look in shown]
    each = room([wish.fitted(size) for wish, size in zip(wishes, sizes, strict=True)], limits)
    return [Room(each.side, min(each.pixels, wish.pixels), wish.least) for wish in wishes]


def check_look(image: Image, limits: PictureSettings) -> None:
    """Raises CallerError `invalid_request` for fewer pixels than none, or more than any picture may have."""
    least, most = image.min_pixels or 0, image.max_pixels or math.inf
    bound, name = limits.max_megapixels * 1e6, "MAX_MEGAPIXELS"
    if limits.max_side is not None:
        bound, name = limits.max_side**2, "MAX_SIDE"
    if least > min(most, bound):
        more = f"is more than `max_pixels` ({most})"
        above = f"may be {bound:.0f} at most (SIGHTLINE_PICTURES__{name})"
        message = f"`min_pixels` ({least}) {more if least > most else above}."
        raise CallerError("invalid_request", message, param="min_pixels")


def room(sizes: Sequence[Size], limits: PictureSettings) -> Room:
    """The most of each picture of a request, where they have these sizes."""
    if limits.max_side is not None:
        return room_for(sizes, Room(limits.max_side, limits.max_side**2), limits.max_side**2)
    # As the largest picture of 16:10 has it. Some image processors pad a picture to a square before they
    # resize it (LLaVA's `do_pad`): a file of a few kilobytes, 40000 x 800, would take gigabytes.
    side, each = math.isqrt(int(limits.max_megapixels * 1.6e6)), limits.max_megapixels * 1e6
    return room_for(sizes, Room(side, each), limits.max_megapixels_request * 1e6)


def decoding(
    info: PictureInfo, room: Room, *, thumbnail: bool = False, background: str = ""
) -> dict[str, Any]:
    """What `decode_picture` is asked."""
    draft = room.fitted(info.size) if thumbnail else (info.width // info.draft, info.height // info.draft)
    return {
        **room._asdict(),
        "pixels": min(room.pixels, info.most),
        "format": info.format,
        "size": info.size,
        "draft": draft if thumbnail or info.draft > 1 else None,
        "most": max(math.prod(info.size), math.prod(room.fitted(info.size)), UNANNOUNCED),
        "thumbnail": thumbnail,
        "background": background or "white",
    }


def check_sizes(sizes: Iterable[tuple[int, str]], limits: PictureSettings) -> None:
    """`sizes` are bytes and place of each. Raises CallerError `payload_too_large`."""
    remaining = int(limits.max_mb_request * 2**20)
    for size, param in sizes:
        if (remaining := remaining - size) < 0:
            most = f"{limits.max_mb_request:g} MiB together (SIGHTLINE_PICTURES__MAX_MB_REQUEST)"
            message = f"The pictures of a request may have {most}. Leave out earlier ones."
            raise CallerError("payload_too_large", message, param=param)
