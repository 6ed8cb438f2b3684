import re
import struct
from typing import Any

import pytest
from PIL import Image

from shared.errors import CallerError
from shared.media.pictures import PictureInfo, check_request, inspect
from shared.settings import PictureSettings
from tests.support import pictures as make

LIMITS = PictureSettings()
IHDR = make.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0))
NO_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0"
GIF_SCREEN = b"GIF89a" + bytes(7)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("tail", [b"", b"bytes behind the end"])
def test_good_pictures_are_measured(kind: str, tail: bytes) -> None:
    info = inspect(make.picture(kind, (9, 7)) + tail, LIMITS, None)
    assert (info.format, info.width, info.height) == (kind, 9, 7)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_png_is_measured(mode: str) -> None:
    assert inspect(make.picture("PNG", (9, 7), mode), LIMITS, None) == PictureInfo("PNG", 9, 7)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"exif": NO_EXIF}])
def test_every_kind_of_webp_is_measured(options: dict[str, Any]) -> None:
    assert inspect(make.picture("WEBP", (300, 7), **options), LIMITS, None) == PictureInfo("WEBP", 300, 7)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_counts_as_its_first_frame(kind: str) -> None:
    data = make.animation(kind, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), (9, 7))
    assert inspect(data, LIMITS, None) == PictureInfo(kind, 9, 7)  # type: ignore[arg-type]


def test_a_camera_s_multi_picture_file_is_a_jpeg() -> None:
    second = Image.new("RGB", (4, 4))
    data = make.encoded(Image.new("RGB", (9, 7)), "MPO", save_all=True, append_images=[second])
    assert inspect(data, LIMITS, None) == PictureInfo("JPEG", 9, 7)


def test_a_progressive_jpeg_is_welcome() -> None:
    info = inspect(make.picture("JPEG", (64, 64), progressive=True), LIMITS, None)
    assert 1 < info.scans <= 20


def grown(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says that it is larger."""
    frame = re.search(rb"\xff[\xc0\xc2]..\x08(....)", data, re.DOTALL)
    assert frame
    return data[: frame.start(1)] + struct.pack(">HH", height, width) + data[frame.end(1) :]


FINE = make.picture("JPEG", (8, 8), progressive=True, subsampling=0)
COARSE = make.picture("JPEG", (8, 8), progressive=True)

HOSTILE = {
    "nothing": (b"", "empty"),
    "text": (b"hello", "not a PNG"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a PNG"),
    "tiff": (b"II*\0" + bytes(100), "a document, which goes into a `file` part"),
    "pdf": (b"%PDF-1.7\n", "a document, which goes into a `file` part"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
    "webp bomb": (make.webp_lossless_header(11_000, 11_000), "megapixels"),
    "gif bomb": (make.gif_header(13_000, 13_000), "megapixels"),
    "png bomb": (make.png((1, 80_000_000), b""), "megapixels"),
    "1 x 5000": (make.png((1, 5000), bytes(4 * 5000)), "times the other"),
    "no pixels": (make.png((0, 5), b""), "0 x 5"),
    "jpeg scans": (make.jpeg_of_scans((16, 16), 201), "scans"),
    "jpeg fill bytes": (b"\xff\xd8" + b"\xff" * 1_000_000 + make.picture("JPEG")[2:], "gap"),
    "only fill bytes": (b"\xff\xd8" + b"\xff" * 1_000_000, "gap"),
    "jpeg segments": (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5_000, "segments"),
    "jpeg without scan": (b"\xff\xd8\xff\xd9", "no picture data"),
    "scans of a large jpeg": (
        grown(make.jpeg_of_scans((16, 16), 40), 6000, 6000),
        "too many for 6000 x 6000",
    ),
    "progressive without subsampling": (grown(FINE, 6300, 6300), "more than a decoder may have"),
    "large webp": (make.webp_lossless_header(6000, 6000), "more than a decoder may have"),
    "jpeg without sampling": (
        FINE.replace(b"\x03\x01\x11", b"\x03\x01\0").replace(b"\x02\x11\1\x03\x11\1", b"\2\0\1\3\0\1"),
        "frame header is damaged",
    ),
    "two jpeg frames": (
        make.picture("JPEG").replace(b"\xff\xdb", make.jpeg_segment(0xC0, bytes(15)) + b"\xff\xdb", 1),
        "two frame headers",
    ),
    "png without pixels": (make.PNG_SIGNATURE + IHDR + make.png_chunk(b"IEND", b""), "no picture data"),
    "two png headers": (make.png((5, 5), bytes(80), extra=(IHDR,)), "header chunk"),
    "png chunks": (make.PNG_SIGNATURE + IHDR + make.png_chunk(b"tEXt", b"") * 100_001, "chunks"),
    "damaged webp": (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(32), "damaged"),
    "gif without frame": (GIF_SCREEN + b";", "no picture data"),
    "gif comments": (GIF_SCREEN + b"!\xfe\x01a\x00" * 150_000, "blocks"),
    "gif sub-blocks": (GIF_SCREEN + b"!\xfe" + b"\x01a" * 250_000, "blocks"),
}


@pytest.mark.parametrize(("data", "finding"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_decoder_should_see_is_refused_with_its_reason(data: bytes, finding: str) -> None:
    with pytest.raises(CallerError, match=finding) as refused:
        inspect(data, LIMITS, "messages.0")
    assert (refused.value.code, refused.value.param) == ("invalid_image", "messages.0")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_picture_cut_short_is_refused_at_the_door(kind: str, kept: float) -> None:
    data = make.encoded(Image.effect_noise((40, 40), 60).convert("RGB"), kind)
    with pytest.raises(CallerError, match="cut short"):
        inspect(data[: int(len(data) * kept)], LIMITS, None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_no_prefix_of_a_picture_breaks_the_parser(kind: str) -> None:
    data = make.picture(kind)
    for length in range(len(data)):
        with pytest.raises(CallerError):
            inspect(data[:length], LIMITS, None)


def test_a_large_progressive_photo_is_welcome() -> None:
    info = inspect(grown(COARSE, 6000, 6000), LIMITS, None)
    assert (info.pixels, info.memory) == (36_000_000, 8 * 36_000_000)


def test_more_memory_is_allowed_by_its_setting() -> None:
    limits = PictureSettings(decode_memory_mb=1000)
    assert inspect(make.webp_lossless_header(6000, 6000), limits, None).memory == 20 * 36_000_000


def test_a_file_that_is_too_large_is_413() -> None:
    with pytest.raises(CallerError, match="1 MiB") as refused:
        inspect(bytes(2**20 + 1), PictureSettings(max_mb=1), "image")
    assert (refused.value.code, refused.value.status) == ("payload_too_large", 413)


def test_a_frame_larger_than_its_gif_screen_counts_in_full() -> None:
    data = bytearray(make.gif_header(60, 50))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert inspect(bytes(data[:-4]) + b"\x01\x44\x00;", LIMITS, None) == PictureInfo("GIF", 60, 50)


def test_pictures_that_are_fine_alone_may_be_too_much_together() -> None:
    six = [PictureInfo("PNG", 6000, 6000, param=f"images[{at}]") for at in range(4)]
    check_request(six[:2], LIMITS)
    with pytest.raises(CallerError, match=r"144\.0 megapixels together") as refused:
        check_request(six, LIMITS)
    assert refused.value.param == "images[2]"
    with pytest.raises(CallerError, match="33 pictures") as refused:
        check_request([PictureInfo("PNG", 1, 1, param=f"images[{at}]") for at in range(33)], LIMITS)
    assert refused.value.param == "images[32]"


def test_pictures_that_are_few_pixels_together_may_be_too_long_for_processors_that_square_them() -> None:
    thin = [PictureInfo("PNG", 8000, 160, param=f"images[{at}]") for at in range(32)]
    check_request(thin[:5], LIMITS)
    with pytest.raises(CallerError, match="too long together") as refused:
        check_request(thin, LIMITS)
    assert (refused.value.code, refused.value.param) == ("invalid_image", "images[5]")
    check_request(thin, PictureSettings(max_side=4096))


def test_scans_that_are_fine_alone_may_be_too_many_together() -> None:
    busy = [PictureInfo("JPEG", 2000, 1250, scans=200, param=f"images[{at}]") for at in range(32)]
    check_request(busy[:3], LIMITS)
    with pytest.raises(CallerError, match="too many scans") as refused:
        check_request(busy, LIMITS)
    assert refused.value.param == "images[3]"


def test_a_picture_is_remembered_by_the_name_its_caller_gave_it() -> None:
    assert inspect(make.picture(), LIMITS, "inputs.image").param == "inputs.image"
