"""Decompression bombs: what a picture file would take once it is decoded, refused before anything is."""

from typing import NamedTuple

from shared.media.picture_headers import BAND, Header, MalformedError, PictureFormat
from shared.settings import PictureSettings

# Bytes of a pixel that is shown, and of one that an SVG's renderer draws.
SHOWN_BYTES, DRAWN_BYTES = 4, 12
# Bytes of a pixel that is decoded with some rows at a time.
ROW_BYTES = 48
# How much smaller a JPEG can be decoded.
DRAFTS = (8, 4, 2, 1)
# The part of a decoder's memory that is neither pixels nor the file.
BESIDE_PIXELS = 16 * 2**20
# Memory may cost a picture no more than three of four pixels.
FEWEST = 4


def check_pixels(kind: PictureFormat, header: Header, limits: PictureSettings) -> None:
    """Raises MalformedError for more pixels, or a longer side, than a picture may have."""
    width, height = header.width, header.height
    size = f"it has {width} x {height} pixels"
    if not width * height:
        raise MalformedError(size)
    # An SVG is drawn at the size at which it is shown.
    if kind != "SVG" and width * height > limits.max_megapixels_sent * 1e6:
        most = f"at most {limits.max_megapixels_sent:g} megapixels are accepted"
        raise MalformedError(f"{size}; {most} (SIGHTLINE_PICTURES__MAX_MEGAPIXELS_SENT)")
    if max(width, height) > limits.max_ratio * min(width, height):
        most = f"one side may be at most {limits.max_ratio:g} times the other"
        raise MalformedError(f"{size}; {most} (SIGHTLINE_PICTURES__MAX_RATIO)")


class Decoding(NamedTuple):
    """How a picture is decoded: a JPEG at a `draft` of its size, shown with `most` pixels, in `memory` bytes."""

    draft: int
    most: int
    memory: int


def decoding(kind: PictureFormat, header: Header, limits: PictureSettings, file_bytes: int) -> Decoding:
    """Return the way in which a decoder has memory for most of the pixels that the picture may have.

    Raises MalformedError if they are few.
    """
    room = limits.decode_memory_mb * 2**20 - BESIDE_PIXELS - file_bytes
    pixels, wanted = header.width * header.height, limits.max_megapixels * 1e6
    each = DRAWN_BYTES if kind == "SVG" else SHOWN_BYTES
    ways = []
    for draft in DRAFTS if kind == "JPEG" else DRAFTS[-1:]:
        decoded = pixels / draft**2
        held = header.pixel * decoded
        if header.band and pixels > wanted:
            held = ROW_BYTES * max(BAND, header.width * header.band)
        most, beside = min(wanted, (room - held) / each), header.beside * pixels
        need = held + max(each * min(decoded, wanted) / FEWEST, beside)
        memory = held + max(each * min(decoded, most), beside)
        ways.append((need, min(decoded, most), Decoding(draft, int(most), int(memory))))
    if (need := min(ways)[0]) > room:
        message = (
            f"decoding {header.width} x {header.height} pixels of this kind takes {need / 2**20:.0f} MiB"
        )
        raise MalformedError(
            f"{message}, more than a decoder may have (SIGHTLINE_PICTURES__DECODE_MEMORY_MB)"
        )
    return max((way for way in ways if way[0] <= room), key=lambda way: way[1])[2]
