"""Decodes pictures in a child process (`shared.media.decode`): a file in, RGB pixels or a JPEG of few out.

Of the project it imports only its neighbours, so it starts in about a tenth of a second."""

import io
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from itertools import chain, product
from typing import Any

from pi_heif import HeifImageFile, register_heif_opener
from PIL import AvifImagePlugin, Image, ImageChops, ImageCms, ImageFile, ImageOps, PngImagePlugin
from PIL.Image import Resampling

from shared.media.decode_svg import rendered
from shared.media.decoder_protocol import Facts, Reply, UnusableError
from shared.media.picture_bands import Window
from shared.media.picture_headers import BAND, PictureFormat, header_of, icon, picture_format
from shared.media.sizes import Room, Size

# What Pillow may try for a kind: the first bytes of a HEIF do not say how it is coded.
BANDED: tuple[PictureFormat, ...] = ("PNG", "TIFF")
FORMATS = {"ICO": ["ICO", "CUR"], "HEIF": ["HEIF", "AVIF"], "SVG": ["PNG"]}
# Kinds that are shown without their last bytes; what is put behind these, and what pixels are before.
ENDLESS = frozenset({"JPEG", "PNG", "BMP"})
ENDS = ((b"", 0), (bytes(range(1, 99)), 255))
# The part of a picture's pixels that may be missing.
MISSING = 0.01
JPEG_END = b"\xff\xd9"
THUMBNAIL_QUALITY = 80
# Pixels sent at a time: blocks so small are used again, where the system clears larger ones each time.
PIECE = 2**16
# Colours with which a profile is tried, and how far a profile for sRGB may move them.
LEVELS = (0, 32, 64, 128, 192, 255)
SAMPLES = Image.frombytes("RGB", (len(LEVELS) ** 3, 1), bytes(chain(*product(LEVELS, repeat=3))))
ROUNDING = 2
# Pillow makes 8 bits of a PNG's grey of 2 or 4, but not of the one that is transparent.
GREY_FACTORS: Mapping[Any, int] = {"L;2": 85, "L;4": 17}
# Bicubic resampling looks this many of the result's pixel widths to each side.
REACH = 2
MAX_PROFILE = 4 * 2**20
"""Bytes of an unpacked colour profile; printers' profiles exceed one MiB."""


# Threads would count against the limits of time and memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
# Now, because at the first picture memory is limited and no module can be read.
Image.preinit()
for plugin in ("Cur", "Ico", "Mpo", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")
# Sizes are checked picture by picture.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE


def answer(request: Facts, data: bytes) -> Reply:
    """The picture's pixels, or where a `thumbnail` is asked for, a JPEG without its metadata, which may say
    where it was taken.
    """
    picture, original = decode(request, data)
    if request["thumbnail"]:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=THUMBNAIL_QUALITY)
        return Reply.of(file.getvalue())
    facts = {"size": picture.size, "original": original}
    return Reply(facts, picture.width * picture.height * 3, _pixels(picture))


def decode(request: Facts, data: bytes) -> tuple[Image.Image, Size]:
    """A picture shrunk into its room and upright, and the size that it has in its file.

    Raises UnusableError, and whatever Pillow raises.
    """
    picture, original = _read(request, data)
    laid = picture.size
    # Damaged metadata must not cost the caller a good picture.
    with suppress(OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        ImageOps.exif_transpose(picture, in_place=True)
    return picture, original if picture.size == laid else original[::-1]


def _read(request: Facts, data: bytes) -> tuple[Image.Image, Size]:
    """Separate from turning, so that the decoder's memory is free by then."""
    room = Room(request["side"], request["pixels"], request["least"])
    if request["format"] == "SVG":
        data = rendered(data, room.fitted(request["size"]))
    if request["format"] == "ICO" and picture_format(inner := icon(data)[1]) == "PNG":
        request, data = request | {"format": "PNG"}, inner
    try:
        return _decoded(request, data, room)
    except OSError:
        if request["format"] not in ENDLESS:
            raise
        return _without_end(request, data, room)


def _without_end(request: Facts, data: bytes, room: Room) -> tuple[Image.Image, Size]:
    """A file whose last bytes are missing; so are the pixels from the first that depends on what its end is.

    Raises UnusableError where they are more than a few.
    """
    small = room._replace(pixels=min(room.pixels, BAND))
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        (one, _), (other, _), shown = (
            _decoded(request, data + end + JPEG_END if request["format"] == "JPEG" else data, size, before)
            for (end, before), size in zip((*ENDS, ENDS[0]), (small, small, room), strict=True)
        )
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    width, height = one.size
    left, top, _, bottom = ImageChops.difference(one, other).getbbox() or (0, height, 0, height)
    if width * (height - top) - left * (bottom - top) > MISSING * width * height:
        raise UnusableError("it is cut short or damaged")
    return shown


def _decoded(request: Facts, data: bytes, room: Room, before: int | None = None) -> tuple[Image.Image, Size]:
    kind = request["format"]
    with opened(kind, data) as image:
        if image.width * image.height > request["most"]:
            raise UnusableError(f"it has {image.width} x {image.height} pixels, more than its header says")
        size = image.size
        if request["draft"]:
            # A JPEG at a fraction of its size, for less time and memory and other pixels.
            image.draft(None, tuple(request["draft"]))
        if before is not None:
            image.im = Image.new(image.mode, image.size, before).im
        if "transparency" in image.info and image.tile:
            image.info["transparency"] *= GREY_FACTORS.get(image.tile[0].args, 1)
        source: ImageFile.ImageFile | Window = image
        shrinks = math.prod(room.fitted(size)) < math.prod(size)
        if isinstance(image, HeifImageFile) or (kind in BANDED and shrinks and header_of(kind, data).band):
            source = Window(image, data, before or 0)
        else:
            image.load()
        if not request["draft"]:
            # Only now is a TIFF upright, and a HEIF's size certain.
            size = image.size
        # No larger than what was announced, for which there is room; one more may be rounding.
        announced = request["size"]
        loaded = max(min(image.width * image.height, math.prod(announced)), room.least)
        side = min(room.side, max(room.fitted(announced)) + 1)
        target = Room(side, min(room.pixels, loaded), room.least).fitted(size)
        picture = to_rgb(source, target, request["background"])
        # From EXIF alone, as in browsers: Pillow also reads an orientation from XMP.
        picture.info = {"exif": image.info.get("exif", b"")}
        return picture, size


def opened(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Open a picture; a whole WebP also if its RIFF size is wrong or its last padding is missing."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS.get(kind, [kind]))
    except OSError:
        if kind != "WEBP":
            raise
        padding = bytes(len(data) % 2)
        size = struct.pack("<I", len(data) + len(padding) - 8)
        return Image.open(io.BytesIO(data[:4] + size + data[8:] + padding), formats=[kind])


def to_rgb(image: ImageFile.ImageFile | Window, size: Size, background: str = "white") -> Image.Image:
    """The first frame as a viewer shows it: 8 bits, sRGB, opaque, resized to `size`; not yet turned.

    Strip by strip, so that only the decoded picture and the result are in memory. If nothing changes, the
    result shares its pixels with `image`, which must be loaded.
    """
    if image.mode in ("F", "I"):
        raise UnusableError("its samples are floats, signed or 32-bit numbers; save it with 8 or 16 bits")
    colours = Colours(image.info.get("icc_profile"), background)
    opaque = image.mode == "RGB" and not image.has_transparency_data
    if not isinstance(image, Window) and opaque and image.size == size and colours.are_srgb(image.mode):
        # Not `image` itself, which may have read an orientation from XMP already.
        return image._new(image.im)
    whole = Image.new("RGB", size)
    for top, bottom in _strips(image, size[1]):
        whole.paste(_strip(image, size, (top, bottom), colours), (0, top))
    return whole


def _strips(image: Image.Image | Window, height: int) -> Iterator[tuple[int, int]]:
    """The first row and the row after the last of each strip of the result."""
    rows = max(1, BAND // image.width * height // image.height)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _strip(
    image: Image.Image | Window, size: tuple[int, int], rows: tuple[int, int], colours: "Colours"
) -> Image.Image:
    """Rows of the result, the same as if the whole picture had been resized."""
    (width, height), (top, bottom) = size, rows
    scale = image.height / height
    reach = 0 if image.size == size else math.ceil(REACH * max(1.0, scale)) + 1
    above = max(0, math.floor(top * scale) - reach)
    below = min(image.height, math.ceil(bottom * scale) + reach)
    colour, alpha = _split(_eight_bits(image.crop((0, above, image.width, below))))
    if alpha is not None:
        # Transparent pixels have colours, too, which must not bleed into their neighbours.
        colour = colours.opaque(colour, alpha)
    if image.size != size:
        # Rounding may put the end after the last row, which Pillow refuses.
        box = (0, top * scale - above, image.width, min(bottom * scale - above, colour.height))
        colour = colour.resize((width, bottom - top), Resampling.BICUBIC, box)
    return colour if alpha is not None else colours.to_srgb(colour)


class Colours:
    """Converts colours of a mode that a profile can apply to (L, RGB, CMYK) to sRGB."""

    def __init__(self, profile: bytes | None, background: str) -> None:
        self._profile, self._background = profile, background
        self._transform: ImageCms.ImageCmsTransform | None = None

    def are_srgb(self, mode: str) -> bool:
        """Whether colours of this mode stay as they are."""
        self.to_srgb(Image.new(mode, (1, 1)))
        return self._profile is None

    def opaque(self, colour: Image.Image, alpha: Image.Image) -> Image.Image:
        whole = Image.new("RGB", colour.size, self._background)
        whole.paste(self.to_srgb(colour), mask=alpha)
        return whole

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


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey reduced to its high bytes, as Pillow reads 16-bit colour; its own convert() clips."""
    if not image.mode.startswith("I"):
        return image
    return Image.frombytes("L", image.size, image.tobytes("raw", "I;16B")[::2])


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


def _pixels(picture: Image.Image) -> Iterator[bytes]:
    """In pieces: Pillow takes the memory of all bytes twice to make them at once."""
    rows = max(1, PIECE // picture.width)
    for top in range(0, picture.height, rows):
        yield picture.crop((0, top, picture.width, min(top + rows, picture.height))).tobytes()
