"""Decodes a large PNG or TIFF some rows at a time, so that its pixels are never in memory all at once."""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate, chain

from pi_heif import HeifImageFile, open_heif
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from shared.media.picture_headers import BAND

# Bytes of a PNG that are unpacked at a time: they may grow a thousandfold.
PIECE = 2**12
TIFF_HEADS = {b"II": b"II*\0\0\0\0\0", b"MM": b"MM\0*\0\0\0\0"}
HEIGHT, ORIENTATION, STRIP_LENGTH, TILE_WIDTH, TILE_LENGTH = 257, 274, 278, 322, 323
# The tags that say where the strips or tiles of a TIFF are, and how many bytes they have.
STRIPS, TILES = (273, 279), (324, 325)
# The tags that say how its pixels are coded.
CODING = {256, 258, 259, 262, 266, 277, 278, 284, 292, 317, 320, 322, 323, 332, 338, 339, 347, 530, 532}


class Window:
    """A picture's rows, which are read from top to bottom; only the rows read last are in memory."""

    def __init__(self, image: ImageFile.ImageFile, data: bytes, fill: int) -> None:
        """Missing rows of a PNG get the value `fill` if Pillow is to load truncated pictures."""
        if isinstance(image, TiffImageFile):
            self._bands = _tiff_bands(image, data)
        elif isinstance(image, HeifImageFile):
            self._bands = _heif_bands(image, data)
        else:
            self._bands = _png_bands(image, data, fill)
        self._rows, self._top = next(self._bands), 0
        self.mode, self.info, self.size = image.mode, image.info, image.size
        self.width, self.height = image.size
        self.has_transparency_data = image.has_transparency_data

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Raises OSError if rows are missing."""
        left, top, right, bottom = box
        while self._top + self._rows.height < bottom:
            overlap = self._rows.crop((left, top - self._top, right, self._rows.height))
            band = next(self._bands)
            self._rows, self._top = Image.new(band.mode, (right, overlap.height + band.height)), top
            self._rows.paste(overlap)
            self._rows.paste(band, (0, overlap.height))
        rows = self._rows.crop((left, top - self._top, right, bottom - self._top))
        rows.info = self.info
        return rows


def _png_bands(image: ImageFile.ImageFile, data: bytes, fill: int) -> Iterator[Image.Image]:
    """Decode each band below the last row of the one before, because a row may be coded as a difference."""
    mode, width, height, depth = image.mode, image.width, image.height, data[24]
    line, count, unpacker = 1 + width * len(mode) * depth // 8, max(1, BAND // width), zlib.decompressobj()
    names = [mode] if depth == 8 else [f"{mode};16B", f"{mode};16L"]
    pieces, raw = _png_pieces(data), bytearray(line)
    for top in range(0, height, count):
        rows = 1 + min(count, height - top)
        while len(raw) < rows * line and (piece := next(pieces, b"")):
            raw += unpacker.decompress(piece)
        if (present := len(raw) // line) < rows:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise OSError("rows are missing")
            raw[present * line :] = (b"\0" + bytes([fill]) * (line - 1)) * (rows - present)
        packed = zlib.compress(raw[: rows * line], 0)
        bands = [Image.frombytes(mode, (width, rows), packed, "zip", name) for name in names]
        last = [band.crop((0, rows - 1, width, rows)).tobytes() for band in bands]
        raw[: rows * line] = b"\0" + bytes(chain.from_iterable(zip(*last, strict=True)))
        yield bands[0].crop((0, 1, width, rows))


def _png_pieces(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = min(at + 8 + length, len(data))
        for start in range(at + 8, end if kind == b"IDAT" else 0, PIECE):
            yield data[start : min(start + PIECE, end)]
        at += 12 + length


def _tiff_bands(image: TiffImageFile, data: bytes) -> Iterator[Image.Image]:
    """Decode copies of the file, each of which has some of its strips, or rows of tiles."""
    tags, width, height = image.tag_v2, image.width, image.height
    tiled, exif = TILE_LENGTH in tags, Image.Exif()
    exif[ORIENTATION] = tags.get(ORIENTATION, 1)
    image.info["exif"] = exif.tobytes()
    length, (places, sizes) = (tags[TILE_LENGTH], TILES) if tiled else (tags[STRIP_LENGTH], STRIPS)
    across, count = -(-width // tags[TILE_WIDTH]) if tiled else 1, max(1, BAND // (width * length))
    for first in range(0, -(-height // length), count):
        some = slice(first * across, (first + count) * across)
        parts = [data[at : at + size] for at, size in zip(tags[places][some], tags[sizes][some], strict=True)]
        copied, file = ImageFileDirectory_v2(TIFF_HEADS[data[:2]]), io.BytesIO()
        for tag in CODING & tags.keys():
            copied[tag] = tags[tag]
        copied[HEIGHT] = min(count * length, height - first * length)
        copied[places] = copied[sizes] = tuple(map(len, parts))
        # Pillow writes the places of strips as if they were counted from the end of the directory.
        begin = copied.save(io.BytesIO()) if tiled else 0
        copied[places] = tuple(accumulate(map(len, parts[:-1]), initial=begin))
        copied.save(file)
        file.write(b"".join(parts))
        yield Image.open(file, formats=["TIFF"])


def _heif_bands(image: HeifImageFile, data: bytes) -> Iterator[Image.Image]:
    """Copy bands out of the decoder's memory, which has all pixels; Pillow would have them a second time."""
    heif = open_heif(io.BytesIO(data), remove_stride=False)
    pixels, line, mode = heif.data, heif.stride, heif.mode
    # It may change while the picture is decoded.
    image._size = width, height = heif.size
    for top in range(0, height, count := max(1, BAND // width)):
        rows = min(count, height - top)
        band = pixels[top * line : (top + rows) * line]
        yield Image.frombytes(mode, (width, rows), band, "raw", mode, line)
