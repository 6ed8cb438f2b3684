"""Pictures good and hostile, made from nothing, and one-purpose HTTP origins."""

import io
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import Any

from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from shared.media.picture_headers import integer_at
from worker.engines.base import PackedPicture
from worker.fair_semaphore import Waiter
from worker.media.picture_decoder import PictureDecoder

PNG_SIGNATURE, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def profile_swapping_red_and_blue() -> bytes:
    """An sRGB profile under another name whose red and blue primaries point at each other's values."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def profile_of_linear_light() -> bytes:
    """One under sRGB's name, as GIMP writes it, whose curves are straight."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = data.index(b"para")
    return data.replace(data[curve : curve + 16], b"para" + bytes(8) + struct.pack(">I", 2**16))


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB", **options: Any) -> bytes:
    """A plain good picture; noise-free, so that every format keeps it."""
    colour = {"RGB": (200, 30, 60), "RGBA": (200, 30, 60, 255), "CMYK": (10, 200, 150, 20), "LA": (90, 255)}
    return encoded(Image.new(mode, size, colour.get(mode, 90)), kind, **options)


def decoded(decoder: PictureDecoder, data: bytes) -> PackedPicture:
    """What the model would see of one picture."""
    with decoder.decode([data], Waiter("")) as (picture,):
        return picture


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int], rows: bytes, *, depth: int = 8, colour: int = RGB, extra: tuple[bytes, ...] = ()
) -> bytes:
    """A PNG of exactly these filtered rows; `extra` chunks stand before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + b"".join(extra) + png_chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG_SIGNATURE + body + png_chunk(b"IEND", b"")


def large_png(side: int, *, depth: int = 8, colour: int = RGB, interlaced: bool = False) -> bytes:
    """A plain square of a few hundred kilobytes at most; without pixels if it is interlaced."""
    header, packer = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced), zlib.compressobj()
    line = bytes(1) + b"\x01" * (side * depth * {GREY: 1, PALETTE: 1, RGB: 3, RGBA: 4}[colour] // 8)
    rows = b"".join(packer.compress(line) for _ in range(0 if interlaced else side)) + packer.flush()
    palette = png_chunk(b"PLTE", bytes(range(6))) if colour == PALETTE else b""
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + palette + png_chunk(b"IDAT", rows) + PNG_END


def icon_of(png: bytes) -> bytes:
    """An ICO that says of its PNG that it has 256 x 256 pixels."""
    return struct.pack("<3H4B2H2I", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


def tiff(size: tuple[int, int], part: tuple[int, int], parts: list[bytes], bits: int = 8) -> bytes:
    """Return an RGB TIFF of packed strips, or of tiles if a part is narrower. A single part is repeated."""
    across, down = (-(-whole // own) for whole, own in zip(size, part, strict=True))
    tags, file = ImageFileDirectory_v2(), io.BytesIO()
    tags[256], tags[257], tags[258], tags[259], tags[262], tags[277] = *size, (bits,) * 3, 8, 2, 3
    places, sizes = (324, 325) if part[0] < size[0] else (273, 279)
    tags.update({322: part[0], 323: part[1]} if places == 324 else {278: part[1]})
    lengths = [len(packed) for packed in parts]
    tags[sizes] = tags[places] = tuple(lengths * (across * down // len(parts)))
    begin = tags.save(io.BytesIO()) if places == 324 else 0
    starts = list(accumulate(lengths[:-1], initial=begin))
    tags[places] = tuple(starts * (across * down // len(parts)))
    tags.save(file)
    return file.getvalue() + b"".join(parts)


def heif_grid(tile: bytes, size: tuple[int, int], side: int = 512, *, turned: bool = False) -> bytes:
    """A HEIC as a phone writes it: a grid of tiles, all of which are the picture in `tile`."""
    columns, rows = -(-size[0] // side), -(-size[1] // side)
    count, tiles = columns * rows, range(2, columns * rows + 2)
    coded = _box_in(tile, b"mdat")
    frame = struct.pack(">4B2I", 0, 1, rows - 1, columns - 1, *size)

    def meta(at: int) -> bytes:
        items = [_box(b"infe", struct.pack(">IHH4sB", 2 << 24, 1, 0, b"grid", 0))]
        items += [_box(b"infe", struct.pack(">IHH4sB", 2 << 24 | 1, n, 0, b"hvc1", 0)) for n in tiles]
        places = [(1, 0, 0, 1, at, len(frame))]
        places += [(n, 0, 0, 1, at + len(frame), len(coded)) for n in tiles]
        sizes = [_box(b"ispe", struct.pack(">3I", 0, *each)) for each in (size, (side, side))]
        known = [*sizes, _box(b"hvcC", _box_in(tile, b"hvcC")), _box(b"irot", bytes([3 * turned]))]
        uses = struct.pack(">2IHB2B", 0, count + 1, 1, 2, 1, 4)
        uses += b"".join(struct.pack(">HB2B", n, 2, 2, 0x83) for n in tiles)
        return _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            _box(b"pitm", struct.pack(">IH", 0, 1)),
            _box(
                b"iloc",
                struct.pack(">IHH", 1 << 24, 0x4400, count + 1),
                *[struct.pack(">4H2I", *p) for p in places],
            ),
            _box(b"iinf", struct.pack(">IH", 0, count + 1), *items),
            _box(b"iprp", _box(b"ipco", *known), _box(b"ipma", uses)),
            _box(b"iref", bytes(4), _box(b"dimg", struct.pack(f">2H{count}H", 1, count, *tiles))),
        )

    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + _box(b"mdat", frame, coded)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _box_in(file: bytes, kind: bytes) -> bytes:
    """The body of the last box of a kind."""
    at = file.rindex(kind) - 4
    return file[at + 8 : at + integer_at(file, at, 4, "big")]


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_of_scans(size: tuple[int, int], scans: int) -> bytes:
    """A progressive JPEG whose first scan is repeated: every repeat costs the decoder a full pass."""
    whole = picture("JPEG", size, "L", progressive=True, quality=5)
    first = whole.index(b"\xff\xda")
    found = (whole.find(marker, first + 2) for marker in (b"\xff\xda", b"\xff\xc4"))
    second = min(at for at in found if at > 0)
    return whole[:second] + whole[first:second] * (scans - 1) + b"\xff\xd9"


def webp_lossless_header(width: int, height: int) -> bytes:
    """34 bytes that promise a lossless WebP of any size."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", 12 + len(chunk)) + b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk


def gif_header(width: int, height: int) -> bytes:
    """A tiny GIF that promises a frame of any size."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x01\x44\x00;"


def animation(kind: str, frames: tuple[tuple[int, int, int], ...], size: tuple[int, int] = (8, 8)) -> bytes:
    first, *rest = (Image.new("RGB", size, colour) for colour in frames)
    return encoded(first, kind, save_all=True, append_images=rest, duration=100)


Serve = Callable[[socket.socket, threading.Event], None]


class Origin:
    """A raw TCP server on the loopback: `serve` gets each connection once its request has been read."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/picture"

    def run(self, serve: Serve, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._answer(
                    connection if tls is None else tls.wrap_socket(connection, server_side=True), serve
                )

    def _answer(self, connection: socket.socket, serve: Serve) -> None:
        with connection:
            self.requests.append(connection.recv(65_536))
            serve(connection, self.stop)


@contextmanager
def origin(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    """Serve one connection after the other until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Origin(listener)
        thread = threading.Thread(target=server.run, args=(serve, tls), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def answering(*parts: bytes) -> Serve:
    """Send these bytes and close."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"".join(parts))

    return serve


def dripping(head: bytes, drop: bytes, pause_s: float) -> Serve:
    """Send `head`, then `drop` for ever, with a pause in between."""

    def serve(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head)
        while not stop.wait(pause_s):
            connection.sendall(drop)

    return serve
