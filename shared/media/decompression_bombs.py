"""Decompression bombs: what a picture file would take once it is decoded, refused before anything is."""

from shared.media.picture_headers import Header, MalformedError, PictureFormat
from shared.settings import PictureSettings

# Bytes that a decoder holds for each pixel: Pillow four, and four as it is shown; others several copies.
PILLOW_BYTES, COPIES_BYTES = 4, 22
COPYING = frozenset({"WEBP", "AVIF", "HEIF"})
# How much smaller a JPEG can be decoded.
DRAFTS = (1, 2, 4, 8)
# The part of a decoder's memory that is not pixels: the file and metadata.
BESIDE_PIXELS_MB = 24


def check_pixels(kind: PictureFormat, header: Header, limits: PictureSettings) -> None:
    """Raises MalformedError for more pixels, or a longer side, than a picture may have."""
    width, height, _ = header
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


def decoding_memory(kind: PictureFormat, header: Header, limits: PictureSettings) -> tuple[int, int]:
    """At which draft a picture is decoded, no smaller than it is shown if memory allows; and its bytes.

    Raises MalformedError where a decoder may not have as much.
    """
    room_bytes, pixels = (limits.decode_memory_mb - BESIDE_PIXELS_MB) * 2**20, header.width * header.height
    shown = min(pixels, limits.max_megapixels * 1e6)
    for draft in DRAFTS if kind == "JPEG" else DRAFTS[:1]:
        decoded = pixels / draft**2
        if kind == "JPEG" and draft < DRAFTS[-1] and decoded / 4 >= limits.max_megapixels * 1e6:
            continue
        memory = PILLOW_BYTES * decoded + max(
            PILLOW_BYTES * min(decoded, shown), header.coefficients * pixels
        )
        if kind in COPYING:
            memory = COPIES_BYTES * pixels
        if kind == "SVG":
            memory = 3 * PILLOW_BYTES * shown
        if memory <= room_bytes:
            return draft, int(memory)
    need = f"decoding {header.width} x {header.height} pixels of this kind takes {memory / 2**20:.0f} MiB"
    raise MalformedError(f"{need}, more than a decoder may have (SIGHTLINE_PICTURES__DECODE_MEMORY_MB)")
