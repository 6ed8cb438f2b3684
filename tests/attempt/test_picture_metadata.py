"""What a file says beside its pixels is heard where viewers hear it, and costs nobody a good picture."""

import random
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from shared.errors import CallerError
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.pictures import decoded
from worker.media.picture_decoder import PictureDecoder

PLAIN = make.picture("PNG")
HEAD, REST = PLAIN[:33], PLAIN[33:]
MEGABYTES = random.Random(7).randbytes(1_500_000).hex().encode()  # noqa: S311
PROFILE = make.profile_swapping_red_and_blue()
BLUE_FOR_RED = (60, 30, 200)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:'
    b'Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
ZIPPED = zlib.compress(MEGABYTES, 1)
LARGE = {
    "zTXt": b"workflow\0\0" + ZIPPED,
    "iTXt": b"workflow\0\1\0\0\0" + ZIPPED,
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    yield decoder
    decoder.close()


def chunk(name: str, body: bytes) -> bytes:
    return make.png_chunk(name.encode(), body)


def broken(kind: bytes, body: bytes) -> bytes:
    """A chunk whose checksum is another's."""
    whole = make.png_chunk(kind, body)
    return whole[:-1] + bytes((whole[-1] ^ 1,))


def same(decoder: PictureDecoder, data: bytes) -> bool:
    """Whether it looks like the picture that says nothing beside its pixels."""
    return decoded(decoder, data) == decoded(decoder, PLAIN)


@pytest.mark.parametrize("name", LARGE)
def test_a_png_with_megabytes_beside_its_pixels_is_seen(decoder: PictureDecoder, name: str) -> None:
    assert same(decoder, HEAD + chunk(name, LARGE[name]) + REST)
    assert same(decoder, PLAIN[:-12] + chunk(name, LARGE[name]) + PLAIN[-12:])


@pytest.mark.parametrize("kind", [b"eXIf", b"tEXt"])
def test_a_png_whose_words_are_broken_is_seen_as_in_a_browser(decoder: PictureDecoder, kind: bytes) -> None:
    assert same(decoder, HEAD + broken(kind, b"k\0v") + REST)


def test_a_png_whose_text_unpacks_to_far_too_much_is_refused(decoder: PictureDecoder) -> None:
    with pytest.raises(CallerError, match="damaged"):
        decoded(decoder, HEAD + chunk("zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000))) + REST)


def test_a_png_whose_pixels_are_not_what_was_written_is_refused(decoder: PictureDecoder) -> None:
    with pytest.raises(CallerError, match="damaged"):
        decoded(decoder, PLAIN[:8] + broken(b"IHDR", HEAD[16:29]) + REST)


def test_a_profile_of_megabytes_is_heard(decoder: PictureDecoder) -> None:
    large = (len(PROFILE) + 2_000_000).to_bytes(4, "big") + PROFILE[4:] + bytes(2_000_000)
    pixel = decoded(decoder, make.picture("PNG", icc_profile=large)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    assert all(abs(a - b) <= 3 for a, b in zip(pixel, BLUE_FOR_RED, strict=True))


@pytest.mark.parametrize("exif", [None, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"], ids=["alone", "beside EXIF"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_viewers_show_upright_is_not_laid_on_its_side_by_its_xmp(
    decoder: PictureDecoder, kind: str, exif: bytes | None
) -> None:
    options: dict[str, bytes] = {"exif": exif} if exif else {}
    if kind == "PNG":
        whole = make.encoded(Image.new("RGB", (9, 3)), kind, **options)
        data = whole[:33] + chunk("iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP) + whole[33:]
    else:
        data = make.encoded(Image.new("RGB", (9, 3)), kind, xmp=XMP, **options)
    assert b"Orientation" in data
    assert decoded(decoder, data).size == (9, 3)
