import io
import random
import struct
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from shared.errors import CallerError
from shared.media.decoder_process import NoDecoder
from shared.request import Image as Shown
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.pictures import decoded
from tests.support.service import ROOT
from worker.fair_semaphore import Waiter
from worker.media.picture_decoder import PictureDecoder

HALF_RED_ON_WHITE = (255, 127, 127)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    yield decoder
    decoder.close()


def first_pixel(image: Image.Image) -> Any:
    return image.getpixel((0, 0))


def near(found: Any, wanted: tuple[int, int, int], by: int = 3) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF"])
def test_pictures_arrive_as_rgb(decoder: PictureDecoder, kind: str) -> None:
    picture = decoded(decoder, make.picture(kind, (16, 14)))
    assert (picture.mode, picture.size, picture.original) == ("RGB", (16, 14), (16, 14))
    assert near(first_pixel(picture), (200, 30, 60))


def test_a_phone_s_heic_stands_upright(decoder: PictureDecoder) -> None:
    picture = decoded(decoder, (ROOT / "tests/data/turned.heic").read_bytes())
    assert (picture.size, picture.original) == ((48, 64), (48, 64))
    assert near(picture.getpixel((47, 0)), RED)
    assert near(picture.getpixel((0, 0)), BLUE)


DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">{}</svg>'
INSIDE = "data:image/png;base64," + b64encode(make.picture("PNG")).decode()


@pytest.mark.parametrize(
    "shapes",
    [
        '<rect width="40" height="20" fill="#c81e3c"/>',
        f'<image href="{INSIDE}" width="40" height="20" preserveAspectRatio="none"/>',
        '<script>alert(1)</script><rect width="40" height="20" fill="#c81e3c"/>',
        '<switch><foreignObject/><rect width="40" height="20" fill="#c81e3c"/></switch>',
    ],
)
def test_a_drawing_is_seen(decoder: PictureDecoder, shapes: str) -> None:
    picture = decoded(decoder, DRAWING.format(shapes).encode())
    assert (picture.size, first_pixel(picture)) == ((40, 20), (200, 30, 60))


BOX = '<rect width="40" height="20" fill="#c81e3c"/>'
ILLUSTRATOR = f"""<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd" [
<!ENTITY ns_svg "http://www.w3.org/2000/svg"><!ENTITY st0 "fill:#c81e3c;"><!ENTITY box '{BOX}'>]>"""
UMLAUTS = '<text xml:space="preserve" y="15"> Ü  &lt;</text>'


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (ILLUSTRATOR + DRAWING.replace("http://www.w3.org/2000/svg", "&ns_svg;").format("&box;"), BOX),
        (ILLUSTRATOR + DRAWING.format('<g style="&st0;">&box;</g>').replace(' fill="#c81e3c"', ""), BOX),
        (
            DRAWING.format(
                "<style><![CDATA[svg > rect{fill:#c81e3c}]]></style><rect width='40' height='20'/>"
            ),
            BOX,
        ),
        ('<?xml version="1.0" encoding="windows-1252"?>' + DRAWING.format(UMLAUTS), UMLAUTS),
    ],
    ids=["namespace", "style", "CDATA", "encoding"],
)
def test_a_drawing_is_seen_as_its_program_wrote_it(decoder: PictureDecoder, written: str, plain: str) -> None:
    assert decoded(decoder, written.encode("cp1252")) == decoded(decoder, DRAWING.format(plain).encode())


SHOWN = """<!ENTITY a '<image href="{0}" width="40" height="20"/>'>"""
ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghij"))


@pytest.mark.parametrize(
    ("drawing", "words"),
    [
        (DRAWING.format('<image href="{0}"/>'), "shows another file; embed"),
        (DRAWING.format('<image href="file://{0}"/>'), "shows another file"),
        (DRAWING.format('<image href="http://127.0.0.1/a.png"/>'), "shows another file"),
        (DRAWING.format('<a:feImage xmlns:a="b" a:href=" {0}"/>'), "shows another file"),
        ('<!DOCTYPE svg [<!ENTITY a "{0}">]>' + DRAWING.format('<image href="&a;"/>'), "shows another file"),
        (f'<!DOCTYPE svg [<!ENTITY a "a">{ENTITIES}]>' + DRAWING.format("<g>&j;</g>"), "too much text"),
        (
            '<!DOCTYPE svg [<!ENTITY a SYSTEM "{0}">]>' + DRAWING.format("<g>&a;</g>"),
            "entity of another file",
        ),
        (f'<!DOCTYPE svg [<!ENTITY a SYSTEM "b">{SHOWN}]>' + DRAWING.format("&a;"), "entity of another file"),
        (f"<!DOCTYPE svg [{SHOWN.replace(' a', ' % a')}]>" + DRAWING.format("&a;"), "a parameter entity"),
        ('<!DOCTYPE svg SYSTEM "{0}">' + DRAWING.format("<g>&a;</g>"), "entity of another file"),
        (DRAWING.format("<g>" * 200 + "<rect/>" + "</g>" * 200), "nested too deeply"),
        (DRAWING.format("<foreignObject><p>A label</p></foreignObject>"), "has HTML in it"),
        (DRAWING.format("<rect/>")[:-9], "cut short or damaged"),
    ],
)
def test_a_drawing_shows_nothing_of_this_machine_and_unfolds_to_no_bomb(
    decoder: PictureDecoder, tmp_path: Path, drawing: str, words: str
) -> None:
    (tmp_path / "secret.png").write_bytes(make.picture("PNG", (40, 20)))
    with pytest.raises(CallerError, match=words):
        decoded(decoder, drawing.replace("{0}", str(tmp_path / "secret.png")).encode())


def liars(size: tuple[int, int]) -> dict[str, bytes]:
    """Pictures whose first header says that they have 10 x 10 pixels."""
    png, gif = make.picture("PNG", size), make.picture("GIF", size, "L")
    return {
        "PNG with two headers": make.picture("PNG", (10, 10))[:33] + png[8:],
        "GIF beyond its screen": gif[:6] + struct.pack("<2H", 10, 10) + gif[10:],
    }


@pytest.mark.parametrize("kind", liars((1, 1)))
def test_a_picture_takes_no_more_room_than_its_header_says(decoder: PictureDecoder, kind: str) -> None:
    assert decoded(decoder, liars((400, 400))[kind]).size == (10, 10)
    assert decoded(decoder, liars((1000, 100))[kind]).width <= 11
    with pytest.raises(CallerError, match="more than its header says"):
        decoded(decoder, liars((3000, 3000))[kind])


NOISE = Image.effect_noise((64, 64), 60).convert("RGB")


@pytest.mark.parametrize(
    ("kind", "missing", "options"),
    [("JPEG", 1, {}), ("JPEG", 2, {}), ("JPEG", 2, {"progressive": True}), ("PNG", 12, {}), ("PNG", 14, {})],
)
def test_a_file_whose_last_bytes_are_missing_is_seen_if_all_its_rows_are_there(
    decoder: PictureDecoder, kind: str, missing: int, options: dict[str, bool]
) -> None:
    whole = make.encoded(NOISE, kind, **options)
    assert decoded(decoder, whole[:-missing]) == decoded(decoder, whole)


@pytest.mark.parametrize("missing", [8, 40])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_is_seen_without_its_last_pixels(decoder: PictureDecoder, kind: str, missing: int) -> None:
    data = make.encoded(NOISE.resize((640, 480)), kind)
    assert decoded(decoder, data[:-missing]).size == (640, 480)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}, {"save_all": True}])
@pytest.mark.parametrize("size", [-8, 2, 1000, -(2**31)])
def test_a_whole_webp_is_seen_whatever_its_riff_size(
    decoder: PictureDecoder, size: int, options: dict[str, Any]
) -> None:
    data = make.encoded(NOISE, "WEBP", **options)
    wrong = data[:4] + struct.pack("<I", (len(data) - 8 + size) % 2**32) + data[8:]
    assert decoded(decoder, wrong).tobytes() == decoded(decoder, data).tobytes()


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_whose_rows_are_missing_is_refused(decoder: PictureDecoder, kind: str, kept: float) -> None:
    data = make.encoded(NOISE, kind)
    with pytest.raises(CallerError, match="picture cannot be used"):
        decoded(decoder, data[: int(len(data) * kept)])


COLOURS = {
    "1-bit": (make.png((8, 1), b"\0\xff", depth=1, colour=make.GREY), (255, 255, 255)),
    "grey": (make.picture("PNG", mode="L"), (90, 90, 90)),
    "16-bit grey": (
        make.png((1, 1), b"\0" + struct.pack(">H", 25_500), depth=16, colour=make.GREY),
        (99,) * 3,
    ),
    "16-bit RGB": (make.png((1, 1), b"\0" + struct.pack(">3H", 25_500, 0, 65_535), depth=16), (99, 0, 255)),
    "16-bit RGBA": (
        make.png((1, 1), b"\0" + struct.pack(">4H", 65_535, 0, 0, 32_768), depth=16, colour=make.RGBA),
        HALF_RED_ON_WHITE,
    ),
    "RGBA": (make.png((1, 1), b"\0\xff\0\0\x80", colour=make.RGBA), HALF_RED_ON_WHITE),
    "grey + alpha": (make.png((1, 1), b"\0\0\x80", colour=make.GREY_ALPHA), (127, 127, 127)),
    "WebP with alpha": (
        make.encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "WEBP", lossless=True),
        HALF_RED_ON_WHITE,
    ),
    "CMYK": (make.picture("JPEG", mode="CMYK"), (226, 51, 97)),
}
KEYED = {
    "palette": ({"depth": 8, "colour": make.PALETTE}, b"\0\0", b"\0"),
    "1-bit grey": ({"depth": 1, "colour": make.GREY}, b"\0\0", b"\0\0"),
    "2-bit grey": ({"depth": 2, "colour": make.GREY}, b"\0\x40", b"\0\x01"),
    "4-bit grey": ({"depth": 4, "colour": make.GREY}, b"\0\x50", b"\0\x05"),
    "8-bit grey": ({"depth": 8, "colour": make.GREY}, b"\0\x10", b"\0\x10"),
    "RGB": ({"depth": 8, "colour": make.RGB}, b"\0\1\2\3", b"\0\1\0\2\0\3"),
}


@pytest.mark.parametrize(("data", "colour"), COLOURS.values(), ids=COLOURS.keys())
def test_every_colour_model_keeps_its_colours_on_white(
    decoder: PictureDecoder, data: bytes, colour: tuple[int, int, int]
) -> None:
    assert near(first_pixel(decoded(decoder, data)), colour)


@pytest.mark.parametrize(("kind", "rows", "key"), KEYED.values(), ids=KEYED.keys())
def test_a_png_s_transparent_colour_becomes_white(
    decoder: PictureDecoder, kind: dict[str, int], rows: bytes, key: bytes
) -> None:
    palette = make.png_chunk(b"PLTE", b"\x0a\x0b\x0c") if kind["colour"] == make.PALETTE else b""
    data = make.png((1, 1), rows, extra=(palette, make.png_chunk(b"tRNS", key)), **kind)
    assert first_pixel(decoded(decoder, data)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("look", "size"),
    [({"max_pixels": 800}, (40, 20)), ({"min_pixels": 12800}, (160, 80)), ({"max_pixels": 10**6}, (80, 40))],
)
def test_a_picture_has_as_many_pixels_as_its_caller_asks_for(
    decoder: PictureDecoder, look: dict[str, int], size: tuple[int, int]
) -> None:
    data = make.picture("PNG", (80, 40))
    with decoder.decode([data, data], Waiter(""), [Shown(**look), Shown()]) as (wished, own):
        assert (wished.size, wished.original, own.size) == (size, (80, 40), (80, 40))


def test_a_caller_s_background_shows_through_a_transparent_picture(decoder: PictureDecoder) -> None:
    clear = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(clear, "PNG")
    looks = [Shown(background=colour) for colour in ("black", "#0080ff", None)]
    with decoder.decode([clear.getvalue()] * 3, Waiter(""), looks) as pictures:
        assert [first_pixel(one) for one in pictures] == [(0, 0, 0), (0, 128, 255), (255, 255, 255)]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_seen(decoder: PictureDecoder, kind: str) -> None:
    picture = decoded(decoder, make.animation(kind, (RED, BLUE, (0, 255, 0))))
    assert near(first_pixel(picture), RED, by=6)


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (3, 2), (0, 0)), (2, (3, 2), (2, 0)), (3, (3, 2), (2, 1)), (4, (3, 2), (0, 1)),
        (5, (2, 3), (0, 0)), (6, (2, 3), (1, 0)), (7, (2, 3), (1, 2)), (8, (2, 3), (0, 2)),
        (99, (3, 2), (0, 0)),
    ],
)  # fmt: skip
def test_a_phone_s_picture_stands_upright(
    decoder: PictureDecoder, orientation: int, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    stored = Image.new("RGB", (3, 2), BLUE)
    stored.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        picture = decoded(decoder, make.encoded(stored, kind, exif=exif))
        assert (picture.size, picture.original, picture.getpixel(corner)) == (size, size, RED)


def test_an_embedded_profile_is_converted_to_srgb(decoder: PictureDecoder) -> None:
    red = Image.new("RGB", (4, 4), RED)
    data = make.encoded(red, "PNG", icc_profile=make.profile_swapping_red_and_blue())
    assert near(first_pixel(decoded(decoder, data)), BLUE)


def test_a_picture_in_linear_light_is_not_seen_dark_for_its_profile_s_name(decoder: PictureDecoder) -> None:
    data = make.encoded(
        Image.new("RGB", (4, 4), (55,) * 3), "PNG", icc_profile=make.profile_of_linear_light()
    )
    assert near(first_pixel(decoded(decoder, data)), (128, 128, 128))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("profile", [b"junk", make.profile_swapping_red_and_blue()[:200]])
def test_a_broken_profile_costs_no_picture(decoder: PictureDecoder, profile: bytes, mode: str) -> None:
    data = make.picture("PNG", mode=mode, icc_profile=profile)
    plain = make.picture("PNG", mode=mode)
    assert decoded(decoder, data).tobytes() == decoded(decoder, plain).tobytes()


def test_broken_exif_does_not_cost_the_picture(decoder: PictureDecoder) -> None:
    data = make.picture("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decoded(decoder, data).size == (8, 6)


DAMAGED = {
    "short pixels": make.png((8, 6), bytes(30)),
    "no pixels": make.png((8, 6), b""),
    "webp header only": make.webp_lossless_header(100, 100)[:25] + b"\xff" * 9,
    "gif header only": make.gif_header(100, 100)[:-4] + b"\x01\x44\x00;",
    "jpeg without tables": b"\xff\xd8"
    + make.jpeg_segment(0xC0, struct.pack(">BHHBBBB", 8, 8, 8, 1, 1, 0x11, 0))
    + make.jpeg_segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    + b"\x12\x34\xff\xd9",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_picture_is_the_caller_s_error_and_its_bytes_stay_out_of_the_message(
    decoder: PictureDecoder, data: bytes
) -> None:
    with pytest.raises(CallerError) as refused:
        decoded(decoder, data)
    assert (refused.value.code, refused.value.param) == ("invalid_image", "images[0]")
    assert refused.value.message in (
        "The picture cannot be used: it could not be decoded: the file is damaged.",
        "The picture cannot be used: it is cut short or damaged.",
    )


def test_no_corruption_raises_anything_but_invalid_image(decoder: PictureDecoder) -> None:
    noise = random.Random(7)  # noqa: S311
    image = Image.effect_noise((24, 24), 60).convert("RGB")
    codes = set()
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        whole = make.encoded(image, kind)
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(3):
                data[noise.randrange(12, len(data))] = noise.randrange(256)
            try:
                assert decoded(decoder, bytes(data)).mode == "RGB"
            except CallerError as error:
                codes.add(error.code)
    assert codes == {"invalid_image"}


def test_a_picture_that_is_shown_several_times_is_decoded_once(decoder: PictureDecoder) -> None:
    one, other = make.picture("PNG", (9, 7)), make.picture("JPEG", (9, 7))
    with decoder.decode([one, other, bytes(bytearray(one))], Waiter("")) as pictures:
        assert pictures[0] is pictures[2]
        assert pictures[1] is not pictures[0]


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_a_picture_that_needs_too_much_memory_is_refused() -> None:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60, decode_memory_mb=170))
    try:
        with pytest.raises(CallerError, match="more than a decoder may have"):
            decoded(decoder, make.picture("PNG", (6000, 6000), "RGBA"))
        assert decoded(decoder, make.picture()).size == (8, 6)
    finally:
        decoder.close()


def children_of(pid: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children() if decodes(p)]


def decodes(process: psutil.Process) -> bool:
    """Children of a test before may be about to end."""
    with suppress(psutil.NoSuchProcess):
        return "shared.media.decode_picture" in process.cmdline()
    return False


def test_closing_ends_the_children_and_refuses_more_pictures() -> None:
    before = {p.pid for p in children_of(psutil.Process().pid)}
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    decoded(decoder, make.picture())
    decoder.close()
    assert {p.pid for p in children_of(psutil.Process().pid)} == before
    with pytest.raises(NoDecoder):
        decoded(decoder, make.picture())


ORPHANING = """
import sys
from shared.settings import PictureSettings
from worker.media.picture_decoder import PictureDecoder
from worker.fair_semaphore import Waiter
decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
with decoder.decode([sys.stdin.buffer.read()], Waiter("")):
    print("decoded", flush=True)
__import__("threading").Event().wait()
"""


def test_no_child_outlives_a_killed_worker(tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(make.picture())
    with (
        source.open("rb") as stdin,
        subprocess.Popen(
            [sys.executable, "-c", ORPHANING], cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE
        ) as parent,
    ):
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"decoded\n"
            children = children_of(parent.pid)
        finally:
            parent.kill()
    assert len(children) == 1
    gone, left = psutil.wait_procs(children, timeout=20)
    assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE], gone


def test_decoding_needs_no_torch() -> None:
    imports = "import sys, worker.media.picture_decoder, shared.media.decode_picture"
    code = f"{imports}; print({{'torch', 'numpy'}} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"
