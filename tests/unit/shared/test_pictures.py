import re
import struct
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image as Pillow

from shared.errors import CallerError
from shared.media import pictures
from shared.media.files import medium_of
from shared.media.pictures import PICTURE, PictureInfo, inspect
from shared.request import Document, Image, Sound, Video
from shared.settings import PictureSettings
from tests.support import pictures as make

LIMITS = PictureSettings()
IHDR = make.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0))
NO_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0"


SVG = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ("<svg width='40' height='30px'>", (40, 30)),
        ("<?xml version='1.0'?><!-- a --><!DOCTYPE svg><svg viewBox='0 0 24 12'>", (24, 12)),
        ("<svg width='48' viewBox='0,0,24,12'>", (48, 24)),
        ("<svg width='100%' height='1in' viewBox='0 0 24 12'>", (192, 96)),
        ("\ufeff  <svg>", (300, 150)),
    ],
)
def test_a_drawing_is_as_large_as_in_a_browser(head: str, size: tuple[int, int]) -> None:
    assert inspect(head.encode(), LIMITS, None).size == size


def test_what_a_file_is_its_first_bytes_say() -> None:
    files = make.picture("TIFF"), b"%PDF-1.7", b"fLaC", b"\x1a\x45\xdf\xa3"
    assert [medium_of(data) for data in files] == [Image, Document, Sound, Video]
    assert [medium_of(data) for data in (b"", b"hello", b"<!doctype html><svg>", b"%!PS")] == [None] * 4


def several_in_one() -> bytes:
    second = Pillow.new("RGB", (4, 4))
    return make.encoded(Pillow.new("RGB", (9, 7)), "MPO", save_all=True, append_images=[second])


def frames(kind: str) -> bytes:
    return make.animation(kind, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), (9, 7))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((make.picture("PNG", (9, 7), mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        (make.picture("WEBP", (9, 7), lossless=True), "WEBP"),
        (make.picture("WEBP", (9, 7), quality=50), "WEBP"),
        (make.picture("WEBP", (9, 7), exif=NO_EXIF), "WEBP"),
        *((frames(kind), kind) for kind in ("PNG", "WEBP", "GIF")),
        (several_in_one(), "JPEG"),
    ],
)
def test_every_kind_is_measured_and_an_animation_by_its_first_frame(data: bytes, kind: Any) -> None:
    assert inspect(data, LIMITS, None) == PictureInfo(kind, 9, 7)


def grown(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says that it is larger."""
    frame = re.search(rb"\xff[\xc0\xc2]..\x08(....)", data, re.DOTALL)
    assert frame
    return data[: frame.start(1)] + struct.pack(">HH", height, width) + data[frame.end(1) :]


FINE = make.picture("JPEG", (8, 8), progressive=True, subsampling=0)
COARSE = make.picture("JPEG", (8, 8), progressive=True)

HOSTILE = {
    "nothing": (b"", "empty"),
    "text": (b"hello", "not a JPEG, PNG, WebP, GIF, HEIC, AVIF, BMP, ICO, TIFF or SVG"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a JPEG"),
    "jpeg bomb": (grown(FINE, 30_000, 30_000), "megapixels .*MAX_MEGAPIXELS_SENT"),
    "webp bomb": (make.webp_lossless_header(16_384, 16_384), "megapixels"),
    "gif bomb": (make.gif_header(30_000, 30_000), "megapixels"),
    "png bomb": (make.png((16_000, 16_001), b""), "megapixels"),
    "1 x 5000": (make.png((1, 5000), bytes(4 * 5000)), "times the other .*MAX_RATIO"),
    "no pixels": (make.png((0, 5), b""), "0 x 5"),
    "jpeg fill bytes": (b"\xff\xd8" + b"\xff" * 1_000_000 + make.picture("JPEG")[2:], "no frame header"),
    "jpeg segments": (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5_000, "no frame header"),
    "jpeg without frame": (b"\xff\xd8\xff\xd9", "no frame header"),
    "large progressive jpeg": (
        grown(FINE, 15_000, 15_000),
        "more than a decoder may have .*DECODE_MEMORY_MB",
    ),
    "large interlaced png": (make.large_png(10_000, interlaced=True), "more than a decoder may have"),
    "large tiff of one strip": (
        make.tiff((10_000, 10_000), (10_000, 10_000), [b""]),
        "more than a decoder may have .*DECODE_MEMORY_MB",
    ),
    "icon larger than it says": (
        make.icon_of(make.large_png(20_000, interlaced=True)),
        "MAX_MEGAPIXELS_SENT",
    ),
    "large webp": (make.webp_lossless_header(9000, 9000), "more than a decoder may have"),
    "damaged webp": (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(32), "damaged"),
    "tiff without sizes": (b"II*\0\x08\0\0\0" + bytes(100), "TIFF header is damaged"),
    "avif without size": (b"\0\0\0\x1cftypavif" + bytes(100), "does not say how large"),
    "svg without shape": (b"<svg width='1.2.3'>", "no number"),
}


@pytest.mark.parametrize(("data", "finding"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_decoder_should_see_is_refused_with_its_reason(data: bytes, finding: str) -> None:
    with pytest.raises(CallerError, match=finding) as refused:
        inspect(data, LIMITS, "messages.0")
    assert (refused.value.code, refused.value.param) == ("invalid_image", "messages.0")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF"])
def test_no_prefix_of_a_picture_breaks_the_parser(kind: str) -> None:
    data = make.picture(kind, (16, 14))
    for length in range(len(data)):
        with suppress(CallerError):
            assert inspect(data[:length], LIMITS, None).size == (16, 14)


@pytest.mark.parametrize(
    ("data", "setting", "memory"),
    [
        (grown(COARSE, 6000, 6000), {}, 288e6),
        (make.webp_lossless_header(9000, 9000), {"decode_memory_mb": 2000}, 1417.5e6),
    ],
)
def test_a_large_photo_is_welcome_where_memory_is_allowed(data: bytes, setting: Any, memory: float) -> None:
    assert inspect(data, PictureSettings(**setting), None).memory == memory


def test_a_phone_s_largest_photos_are_decoded_no_larger_than_needed() -> None:
    photos = [grown(make.picture("JPEG"), *size) for size in ((8064, 6048), (12_000, 9000), (16_320, 12_240))]
    assert [inspect(photo, LIMITS, None).draft for photo in photos] == [1, 2, 2]


def shown(*sizes: tuple[int, int]) -> list[tuple[int, int]]:
    room = pictures.room(sizes, LIMITS)
    return [room.fitted(size) for size in sizes]


def test_a_picture_beyond_the_limits_is_shrunk_to_them() -> None:
    sizes = ((8000, 5000), (9000, 4000), (1080, 30_000), (8064, 6048))
    assert [shown(size)[0] for size in sizes] == [(8000, 5000), (8000, 3556), (288, 8000), (7303, 5477)]


def test_pictures_that_are_fine_alone_are_shrunk_where_they_are_too_much_together() -> None:
    *large, stamp = shown(*[(6000, 6000)] * 4, (30, 40))
    assert stamp == (30, 40)
    assert 79e6 < sum(width * height for width, height in large) < 80e6
    # Few pixels, but too long for processors that square them.
    assert sum(max(size) ** 2 for size in shown(*[(8000, 160)] * 32)) <= 320e6


def test_a_picture_too_many_is_named() -> None:
    with pytest.raises(CallerError, match=r"257 pictures.*SIGHTLINE_PICTURES__MAX_COUNT") as refused:
        PICTURE.check_count([f"images[{at}]" for at in range(257)], LIMITS)
    assert refused.value.param == "images[256]"
