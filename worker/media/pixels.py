"""The child process that decodes: a stranger's bytes in on one socket, RGB pixels out.

Run as `python -m worker.media.pixels <limit_s> <memory_mb> <max_pixels>` with a socket as standard input, by
`worker.media.images`. It holds no secrets, may be killed at any moment, and ends when its parent's end of the
socket closes. It imports nothing of the project, so it starts in about a tenth of a second.
"""

import io
import math
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL import (
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

# Named so that Pillow needs to import no further format at the first picture, when memory is limited.
PLUGINS = (GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)

READY = b"R"
# Format, announced width and height, wanted width and height, bytes that follow.
REQUEST = struct.Struct("!4sIIIII")
# Width and height, then width * height * 3 bytes; 0 and 0: it could not be decoded.
REPLY = struct.Struct("!II")

# Pixels whose colours are converted at a time: each step makes a copy of them.
STRIP = 2**20
# To each side of a pixel of the result, so many of its own widths does bicubic resampling look.
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
KEY_SCALES = {"L;2": 85.0, "L;4": 17.0, "I;16B": 1 / 256, "RGB;16B": 1 / 256}


def to_rgb(image: ImageFile, size: tuple[int, int]) -> Image.Image:
    """The first frame as a viewer shows it on white: 8 bits, sRGB, opaque, shrunk to `size`; not yet turned.

    Strip by strip, so that beside the decoded picture there is only the result.
    """
    _scale_key(image)
    image.load()
    colours = Colours(image.info.get("icc_profile"))
    whole = Image.new("RGB", size)
    for top, bottom in _strips(image, size[1]):
        whole.paste(_strip(image, size, top, bottom, colours), (0, top))
    return whole


def _strips(image: Image.Image, height: int) -> Iterator[tuple[int, int]]:
    """First row and row behind the last of each piece of the result."""
    rows = max(1, STRIP // image.width * height // image.height)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _strip(
    image: Image.Image, size: tuple[int, int], top: int, bottom: int, colours: "Colours"
) -> Image.Image:
    """Rows of the result, the same as if the whole picture had been resized."""
    width, height = size
    scale = image.height / height
    reach = 0 if image.size == size else math.ceil(REACH * max(1.0, scale)) + 1
    above = max(0, math.floor(top * scale) - reach)
    below = min(image.height, math.ceil(bottom * scale) + reach)
    colour, alpha = _split(_eight_bits(image.crop((0, above, image.width, below))))
    if alpha is not None:
        # What is transparent has colours too, which must not run into those beside it.
        colour = _on_white(colours.to_srgb(colour), alpha)
    # Rounding may put the end behind the last row, which Pillow refuses.
    box = (0, top * scale - above, image.width, min(bottom * scale - above, colour.height))
    rows = colour.resize((width, bottom - top), Resampling.BICUBIC, box)
    return rows if alpha is not None else colours.to_srgb(rows)


def _on_white(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", colour.size, "white")
    white.paste(colour, mask=alpha)
    return white


class Colours:
    """Colours of a mode that a profile can apply to (L, RGB, CMYK), to sRGB."""

    def __init__(self, profile: bytes | None) -> None:
        self._profile = profile
        self._transform: ImageCms.ImageCmsTransform | None = None

    def to_srgb(self, colour: Image.Image) -> Image.Image:
        """By the embedded profile; one that is broken or for another mode is ignored, as browsers do."""
        if self._profile is None:
            return colour.convert("RGB")
        try:
            if self._transform is None:
                self._transform = self._made(self._profile, colour.mode)
            turned = None if self._transform is None else ImageCms.applyTransform(colour, self._transform)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            turned = None
        if turned is None:
            self._profile = None
        return (turned or colour).convert("RGB")

    def _made(self, profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
        """None where the picture is in sRGB already."""
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _scale_key(image: ImageFile) -> None:
    """Bring a PNG's transparent colour (tRNS) to the 8 bits its samples will have once decoded."""
    key = image.info.get("transparency")
    scale = KEY_SCALES.get(str(image.tile[0].args)) if image.format == "PNG" and image.tile else None
    if scale is None or key is None:
        return
    image.info["transparency"] = (
        tuple(int(sample * scale) for sample in key) if isinstance(key, tuple) else int(key * scale)
    )


def _turn(image: Image.Image) -> Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return None  # Damaged metadata must not cost the caller a good picture.


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey by its high bytes, as Pillow itself reads 16-bit colour; its own convert() clips."""
    if not image.mode.startswith("I"):
        return image
    grey = Image.frombytes("L", image.size, image.tobytes("raw", "I;16B")[::2])
    if "transparency" in image.info:
        grey.info["transparency"] = image.info["transparency"]
    return grey


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


def decode(kind: str, size: tuple[int, int], wanted: tuple[int, int], data: bytes) -> Image.Image:
    """Decode bytes whose headers announced `size`, shrink them to `wanted` and turn them upright.

    Raises whatever Pillow raises.
    """
    picture, turn = _opened(kind, size, wanted, data)
    return picture.transpose(turn) if turn is not None else picture


def _opened(
    kind: str, size: tuple[int, int], wanted: tuple[int, int], data: bytes
) -> tuple[Image.Image, Transpose | None]:
    """Apart from turning, so that the decoder's memory is free by then."""
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.size != size:
            raise ValueError("the decoder sees another picture than the headers announced")
        return to_rgb(image, wanted), _turn(image)


def serve(channel: socket.socket, limit_s: float) -> None:
    """Answer requests until the parent is gone, which shows as an end of input or a ConnectionError."""
    reader = channel.makefile("rb")
    channel.sendall(READY)
    while len(head := reader.read(REQUEST.size)) == REQUEST.size:
        _answer(channel, reader, head, limit_s)


def _answer(channel: socket.socket, reader: BinaryIO, head: bytes, limit_s: float) -> None:
    """Apart from the loop, so that nothing of a picture is kept until the next one comes.

    The alarm ends a decode that no parent watches any more.
    """
    kind, *sides, length = REQUEST.unpack(head)
    data = reader.read(length)
    signal.setitimer(signal.ITIMER_REAL, limit_s + 1)
    try:
        picture = decode(kind.rstrip(b"\0").decode(), (sides[0], sides[1]), (sides[2], sides[3]), data)
        reply = REPLY.pack(*picture.size), picture.tobytes()
    except Exception:  # The outermost frame of a picture: Pillow raises any type, and none may end the child.
        reply = REPLY.pack(0, 0), b""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for part in reply:
        channel.sendall(part)


def limit_memory(growth_mb: int) -> None:
    """Cap the address space at its present size and `growth_mb` more; Linux only, elsewhere nothing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + growth_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    limit_s, (memory_mb, max_pixels) = float(sys.argv[1]), map(int, sys.argv[2:])
    Image.MAX_IMAGE_PIXELS = max_pixels
    limit_memory(memory_mb)
    with socket.socket(fileno=sys.stdin.fileno()) as channel, suppress(ConnectionError):
        serve(channel, limit_s)


if __name__ == "__main__":
    main()
