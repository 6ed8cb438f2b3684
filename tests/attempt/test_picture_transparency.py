"""What a picture leaves open is white, and nothing else of it is."""

import struct
from collections.abc import Iterator

import pytest
from PIL import Image

from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.pictures import decoded
from worker.media.picture_decoder import PictureDecoder

GREEN, WHITE = (0, 255, 0), (255, 255, 255)


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    yield decoder
    decoder.close()


@pytest.mark.parametrize(
    ("key", "white"),
    [(25_500, [0]), (25_501, [1]), (0x9C63, []), (0, [3])],
    ids=["first", "next", "none", "0"],
)
def test_of_16_bit_greys_only_the_transparent_one_is_lost(
    decoder: PictureDecoder, key: int, white: list[int]
) -> None:
    samples = (25_500, 25_501, 25_600, 0, 255)
    data = make.png(
        (5, 1),
        b"\0" + struct.pack(">5H", *samples),
        depth=16,
        colour=make.GREY,
        extra=(make.png_chunk(b"tRNS", struct.pack(">H", key)),),
    )
    wanted = [WHITE if place in white else (sample >> 8,) * 3 for place, sample in enumerate(samples)]
    found = decoded(decoder, data)
    assert [found.getpixel((x, 0)) for x in range(5)] == wanted


def framed(box: tuple[int, int, int, int], canvas: tuple[int, int]) -> bytes:
    """A GIF in green on a larger canvas, whose first colour is red."""
    frame = Image.new("P", (box[2] - box[0], box[3] - box[1]), 1)
    frame.putpalette([255, 0, 0, *GREEN])
    whole = make.encoded(frame, "GIF", optimize=False)
    at = whole.index(b"," + struct.pack("<HH", 0, 0) + struct.pack("<HH", *frame.size))
    placed = struct.pack("<HH", *box[:2])
    return whole[:6] + struct.pack("<HH", *canvas) + whole[10 : at + 1] + placed + whole[at + 5 :]


@pytest.mark.parametrize("box", [(2, 2, 6, 6), (0, 0, 8, 3), (5, 4, 8, 8)])
def test_around_the_first_frame_of_a_gif_there_is_white_and_no_colour_of_its_palette(
    decoder: PictureDecoder, box: tuple[int, int, int, int]
) -> None:
    wanted = Image.new("RGB", (8, 8), WHITE)
    wanted.paste(GREEN, box)
    assert decoded(decoder, framed(box, (8, 8))).tobytes() == wanted.tobytes()


def test_the_frame_of_a_large_gif_stays_in_its_place_from_strip_to_strip(decoder: PictureDecoder) -> None:
    box, size = (100, 500, 1900, 1500), (2000, 1600)
    wanted = Image.new("RGB", size, WHITE)
    wanted.paste(GREEN, box)
    assert decoded(decoder, framed(box, size)).tobytes() == wanted.tobytes()
