"""The child process that decodes pictures: untrusted bytes in on one socket, RGB pixels out.

Run as `python -m worker.media.decode_picture <limit_s> <memory_mb> <max_pixels>` with a socket as
standard input, by `picture_decoder`. It holds no secrets, may be killed at any moment, and ends when its
parent's end of the socket closes. Of the project it imports only its neighbours, so it starts in about a
tenth of a second."""

import io
import math
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, product
from typing import IO, Any

from PIL import (
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from worker.media.decoder_protocol import PICTURES, Numbers, serve

# Imported here so that Pillow imports no format at the first picture, when memory is limited.
PLUGINS = (GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)

# Pixels whose colours are converted at a time, because each step copies them.
STRIP = 2**20
# Colours with which a profile is tried, and how far a profile for sRGB may move them.
LEVELS = (0, 32, 64, 128, 192, 255)
SAMPLES = Image.frombytes("RGB", (len(LEVELS) ** 3, 1), bytes(chain(*product(LEVELS, repeat=3))))
ROUNDING = 2
# Bicubic resampling looks this many of the result's pixel widths to each side.
REACH = 2
ORIENTATION = 0x0112
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# How far Pillow stretches the samples of these PNGs without stretching the transparent colour with them.
# Of 16-bit colours it keeps the high bytes only: those that look like the transparent one are white with it.
KEY_SCALES = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}

READ_CHUNKS = frozenset({b"tRNS", b"iCCP", b"eXIf"})
"""The ancillary chunks that are read, the first of each: only one is allowed (PNG, 3rd ed., section 5.4)."""
MAX_PROFILE = 4 * 2**20
"""Bytes of an unpacked colour profile; printers' profiles exceed one MiB."""

Box = tuple[int, int, int, int]


def decode(kind: str, size: tuple[int, int], target: tuple[int, int], data: bytes) -> Image.Image:
    """Decode bytes whose headers announced `size`, shrink them to `target` and turn them upright.

    Raises whatever Pillow raises.
    """
    picture, turn = _read(kind, size, target, data)
    return picture.transpose(turn) if turn is not None else picture


def _read(
    kind: str, size: tuple[int, int], target: tuple[int, int], data: bytes
) -> tuple[Image.Image, Transpose | None]:
    """Separate from turning, so that the decoder's memory is free by then."""
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.size != size:
            raise ValueError("the decoder sees another picture than the headers announced")
        return to_rgb(image, target), _turn(image)


def to_rgb(image: ImageFile, size: tuple[int, int]) -> Image.Image:
    """The first frame as a viewer shows it on white: 8 bits, sRGB, opaque, shrunk to `size`; not yet turned.

    Strip by strip, so that only the decoded picture and the result are in memory.
    """
    _scale_key(image)
    frame = _frame(image)
    image.load()
    colours = Colours(image.info.get("icc_profile"))
    whole = Image.new("RGB", size)
    for top, bottom in _strips(image, size[1]):
        whole.paste(_strip(image, frame, size, (top, bottom), colours), (0, top))
    return whole


def _strips(image: Image.Image, height: int) -> Iterator[tuple[int, int]]:
    """The first row and the row after the last of each strip of the result."""
    rows = max(1, STRIP // image.width * height // image.height)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _strip(
    image: Image.Image, frame: Box | None, size: tuple[int, int], rows: tuple[int, int], colours: "Colours"
) -> Image.Image:
    """Rows of the result, the same as if the whole picture had been resized."""
    (width, height), (top, bottom) = size, rows
    scale = image.height / height
    reach = 0 if image.size == size else math.ceil(REACH * max(1.0, scale)) + 1
    above = max(0, math.floor(top * scale) - reach)
    below = min(image.height, math.ceil(bottom * scale) + reach)
    colour, alpha = _split(_eight_bits(image.crop((0, above, image.width, below))))
    if alpha is None and frame is not None:
        alpha = Image.new("L", colour.size)
        alpha.paste(255, (frame[0], frame[1] - above, frame[2], frame[3] - above))
    if alpha is not None:
        # Transparent pixels have colours, too, which must not bleed into their neighbours.
        colour = _on_white(colours.to_srgb(colour), alpha)
    # Rounding may put the end after the last row, which Pillow refuses.
    box = (0, top * scale - above, image.width, min(bottom * scale - above, colour.height))
    resized = colour.resize((width, bottom - top), Resampling.BICUBIC, box)
    return resized if alpha is not None else colours.to_srgb(resized)


def _on_white(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", colour.size, "white")
    white.paste(colour, mask=alpha)
    return white


class Colours:
    """Converts colours of a mode that a profile can apply to (L, RGB, CMYK) to sRGB."""

    def __init__(self, profile: bytes | None) -> None:
        self._profile = profile
        self._transform: ImageCms.ImageCmsTransform | None = None

    def to_srgb(self, colour: Image.Image) -> Image.Image:
        """By the embedded profile; one that is broken or for another mode is ignored, as browsers do."""
        if self._profile is None:
            return colour.convert("RGB")
        try:
            if self._transform is None:
                self._transform = self._transform_of(self._profile, colour.mode)
            turned = None if self._transform is None else ImageCms.applyTransform(colour, self._transform)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            turned = None
        if turned is None:
            self._profile = None
        return (turned or colour).convert("RGB")

    def _transform_of(self, profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
        """The transform; None if the picture is in sRGB already. The profile's name does not tell: one for
        linear light may be called sRGB, too.
        """
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        return None if mode == "RGB" and _changes_little(transform) else transform


def _changes_little(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it changes colours by rounding only, because they are in sRGB already."""
    return max(ImageChops.difference(SAMPLES, transform.apply(SAMPLES)).tobytes()) <= ROUNDING


def _scale_key(image: ImageFile) -> None:
    """Bring a PNG's transparent colour (tRNS) to the 8 bits its samples will have once decoded."""
    key = image.info.get("transparency")
    scale = KEY_SCALES.get(str(image.tile[0].args)) if image.format == "PNG" and image.tile else None
    if scale is None or key is None:
        return
    image.info["transparency"] = (
        tuple(int(sample * scale) for sample in key) if isinstance(key, tuple) else int(key * scale)
    )


def _frame(image: ImageFile) -> Box | None:
    """Where a GIF's first frame lies if it leaves a part open, which Pillow fills with the first colour."""
    if image.format != "GIF" or not image.tile or image.tile[0].extents == (0, 0, *image.size):
        return None
    return image.tile[0].extents


def _turn(image: Image.Image) -> Transpose | None:
    """From EXIF alone, as in browsers; Pillow's own getexif() reads other metadata (XMP), too."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return TURNS.get(exif.get(ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return None  # Damaged metadata must not cost the caller a good picture.


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey reduced to its high bytes, as Pillow reads 16-bit colour; its own convert() clips.

    Transparent pixels are found before that, because 256 greys share a high byte.
    """
    if not image.mode.startswith("I"):
        return image
    samples = image.tobytes("raw", "I;16B")
    high, low = (Image.frombytes("L", image.size, samples[first::2]) for first in (0, 1))
    key = image.info.get("transparency")
    if key is None:
        return high
    return Image.merge("LA", (high, ImageChops.lighter(_unlike(high, key >> 8), _unlike(low, key & 255))))


def _unlike(channel: Image.Image, value: int) -> Image.Image:
    """255 at pixels that have another value, else 0."""
    return channel.point([0 if level == value else 255 for level in range(256)])


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in a mode that a profile can apply to, and transparency."""
    alpha = None
    if image.has_transparency_data:
        alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    if image.mode in ("1", "LA"):
        return image.convert("L"), alpha
    if image.mode in ("L", "RGB", "CMYK"):
        return image, alpha
    return image.convert("RGB"), alpha


class Chunks(PngImagePlugin.PngStream):
    """Reads a PNG's chunks as viewers do: the pixels, and otherwise only what changes how they look.

    Pillow itself refuses a picture if any text, measure or animation in it is damaged or unpacks to too much.
    """

    fp: IO[bytes]

    def __init__(self, fp: IO[bytes]) -> None:
        super().__init__(fp)
        self._read = set[bytes]()

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read the chunk whose body is at `pos`, and leave the file at the body's end.

        Raises what Pillow raises, for what is not ancillary.
        """
        if not _is_ancillary(cid):
            return super().call(cid, pos, length)
        if cid in READ_CHUNKS - self._read:
            self._read.add(cid)
            with suppress(ValueError, SyntaxError, LookupError, struct.error):
                super().crc(cid, self.fp.read(length))
                self.fp.seek(pos)
                super().call(cid, pos, length)
        self.fp.seek(pos + length)
        return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Read the checksum after a chunk. Raises SyntaxError if it is wrong and the chunk counts."""
        if _is_ancillary(cid):
            self.crc_skip(cid, data)
        else:
            super().crc(cid, data)


def read_as_viewers_do() -> None:
    """Have Pillow read all PNGs of this process with `Chunks`."""
    PngImagePlugin.PngStream = Chunks  # type: ignore[misc]
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE


def _is_ancillary(cid: bytes) -> bool:
    return cid[:1].islower()


def _answer(numbers: tuple[Any, ...], data: bytes) -> tuple[Numbers, bytes]:
    kind, width, height, *target = numbers
    picture = decode(kind.rstrip(b"\0").decode(), (width, height), (target[0], target[1]), data)
    return picture.size, picture.tobytes()


def main() -> None:
    limit_s, (memory_mb, max_pixels) = float(sys.argv[1]), map(int, sys.argv[2:])
    Image.MAX_IMAGE_PIXELS = max_pixels
    read_as_viewers_do()
    serve(PICTURES, _answer, limit_s, memory_mb)


if __name__ == "__main__":
    main()
