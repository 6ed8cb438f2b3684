"""Decompression bombs: what a picture file would take once it is decoded, refused before anything is."""

from shared.media.picture_headers import BAND, Header, MalformedError, PictureFormat
from shared.settings import PictureSettings

# Bytes of a pixel that is shown, that an SVG's renderer draws, and that is decoded with some rows at a time.
SHOWN_BYTES, DRAWN_BYTES, ROW_BYTES = 4, 12, 48
# How much smaller a JPEG can be decoded.
DRAFTS = (1, 2, 4, 8)
# The part of a decoder's memory that is neither pixels nor the file: the process itself, and metadata.
BESIDE_PIXELS_MB = 32
# A picture is shown with no less than this part of the pixels that it may have.
LEAST_SHOWN = 1 / 8


def check_pixels(kind: PictureFormat, header: Header, limits: PictureSettings) -> None:
    """Raises MalformedError for more pixels, or a longer side, than a picture may have."""
    width, height = header[:2]
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


def decoding_memory(
    kind: PictureFormat, header: Header, limits: PictureSettings, file_bytes: int
) -> tuple[int, int, int]:
    """Return the draft at which most pixels can be shown, how many may be, and the bytes that decoding takes.

    Raises MalformedError if a decoder may not have as much.
    """
    room = (limits.decode_memory_mb - BESIDE_PIXELS_MB) * 2**20 - file_bytes
    pixels, most = header.width * header.height, limits.max_megapixels * 1e6
    if kind == "SVG":
        return 1, int(min(most, room / DRAWN_BYTES)), int(DRAWN_BYTES * min(pixels, most))
    ways, needs = {}, []
    for draft in DRAFTS if kind == "JPEG" else DRAFTS[:1]:
        decoded = pixels / draft**2
        pixel_bytes, beside = header.pixel * decoded, header.beside * pixels
        if header.band and pixels > most:
            pixel_bytes = ROW_BYTES * max(BAND, header.width * header.band)
        may_show = min(most, (room - pixel_bytes) / SHOWN_BYTES)
        shown = min(decoded, may_show)
        needs.append(pixel_bytes + max(SHOWN_BYTES * LEAST_SHOWN * min(decoded, most), beside))
        if needs[-1] <= room:
            ways[shown] = draft, int(may_show), int(pixel_bytes + max(SHOWN_BYTES * shown, beside))
    if not ways:
        size, need = f"{header.width} x {header.height} pixels", f"{min(needs) / 2**20:.0f} MiB"
        need = f"decoding {size} of this kind takes {need}"
        raise MalformedError(f"{need}, more than a decoder may have (SIGHTLINE_PICTURES__DECODE_MEMORY_MB)")
    return ways[max(ways)]
