"""The child process that decodes: a stranger's bytes in on one socket, RGB pixels out.

Run as `python -m worker.pixels <limit_s> <memory_mb> <max_pixels> <max_side>` with a socket as standard
input, by `worker.images`. It holds no secrets, may be killed at any moment, and ends when its parent's end of
the socket closes. It imports nothing of the project, so it starts in about a tenth of a second.
"""

import io
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from PIL import (
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile

# Named so that Pillow needs to import no further format at the first picture, when memory is limited.
PLUGINS = (GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)

READY = b"R"
# Format, announced width and height, bytes that follow.
REQUEST = struct.Struct("!4sIII")
# Width and height, then width * height * 3 bytes; 0 and 0: it could not be decoded.
REPLY = struct.Struct("!II")

# Fast steps first, down to this many times the wanted size; more cannot be told from none (Pillow's manual).
REDUCING_GAP = 3.0
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


def to_rgb(image: ImageFile) -> Image.Image:
    """The first frame as a viewer shows it on white: upright, 8 bits, sRGB, opaque."""
    _scale_key(image)
    image.load()
    turn = _turn(image)
    profile = image.info.get("icc_profile")
    colour, alpha = _split(_eight_bits(image))
    colour = _to_srgb(colour, profile) if profile else colour
    rgb = colour.convert("RGB")
    if alpha:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    return rgb.transpose(turn) if turn is not None else rgb


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
    """Colours in a mode a profile can apply to (L, RGB, CMYK), and transparency."""
    alpha = None
    if image.has_transparency_data:
        alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    if image.mode in ("1", "LA"):
        return image.convert("L"), alpha
    if image.mode in ("L", "RGB", "CMYK"):
        return image, alpha
    return image.convert("RGB"), alpha


def _to_srgb(colour: Image.Image, profile: bytes) -> Image.Image:
    """Apply the embedded profile; one that is broken or meant for another mode is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return colour
        turned = ImageCms.profileToProfile(colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return colour
    return turned or colour


def decode(kind: str, width: int, height: int, data: bytes, max_side: int) -> Image.Image:
    """Decode bytes whose headers announced `width` x `height`, and shrink what is longer than `max_side`.

    An image processor may pad a picture to a square or scale its shorter side, in floating point: of a file
    of a few kilobytes, 40000 x 800, that makes 16 GB. Raises whatever Pillow raises.
    """
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.width > width or image.height > height:
            raise ValueError("the decoder sees a larger picture than the headers announced")
        picture = to_rgb(image)
    picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return picture


def serve(channel: socket.socket, limit_s: float, max_side: int) -> None:
    """Answer requests until the parent is gone, which shows as an end of input or a ConnectionError.

    The alarm ends a decode that no parent watches any more.
    """
    reader = channel.makefile("rb")
    channel.sendall(READY)
    while len(head := reader.read(REQUEST.size)) == REQUEST.size:
        kind, width, height, length = REQUEST.unpack(head)
        data = reader.read(length)
        signal.setitimer(signal.ITIMER_REAL, limit_s + 1)
        try:
            picture = decode(kind.rstrip(b"\0").decode(), width, height, data, max_side)
            reply = REPLY.pack(*picture.size), picture.tobytes()
        except Exception:  # The loop's outermost frame: Pillow raises any type, and none may end the child.
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
    limit_s, (memory_mb, max_pixels, max_side) = float(sys.argv[1]), map(int, sys.argv[2:])
    Image.MAX_IMAGE_PIXELS = max_pixels
    limit_memory(memory_mb)
    with socket.socket(fileno=sys.stdin.fileno()) as channel, suppress(ConnectionError):
        serve(channel, limit_s, max_side)


if __name__ == "__main__":
    main()
