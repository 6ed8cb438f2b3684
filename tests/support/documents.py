"""Documents good and hostile, made from nothing."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

A4 = (0, 0, 595, 842)


def pdf(
    pages: Sequence[str], box: Sequence[float] = A4, *, catalogue: str = "", count: int | None = None
) -> bytes:
    """A PDF with a line of text on each page; `count` is what its tree says, where that is a lie."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    size = " ".join(f"{length:g}" for length in box)
    bodies = [
        f"<</Type/Catalog/Pages 2 0 R{catalogue}>>".encode(),
        f"<</Type/Pages/Count {len(pages) if count is None else count}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, text in enumerate(pages):
        content = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
        page = f"<</Type/Page/Parent 2 0 R/MediaBox[{size}]/Contents {5 + 2 * n} 0 R"
        page += "/Resources<</Font<</F1 3 0 R>>>>>>"
        bodies += [page.encode(), stream(content)]
    return written(bodies)


def stream(content: bytes, fields: str = "") -> bytes:
    return f"<</Length {len(content)}{fields}>>stream\n".encode() + content + b"\nendstream"


def written(bodies: Sequence[bytes], trailer: str = "") -> bytes:
    """Objects from 1 on, the first of which is the catalogue, with their table."""
    data, offsets = bytearray(b"%PDF-1.7\n"), list[int]()
    for number, body in enumerate(bodies, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = len(data)
    data += f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{at:010} 00000 n \n".encode() for at in offsets)
    data += f"trailer<</Size {len(bodies) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{table}\n%%EOF".encode()
    return bytes(data)


def locked() -> bytes:
    """A PDF that needs a password (RC4 of 40 bits, with nobody's digest)."""
    guard = "<</Filter/Standard/V 1/R 2/P -4/O({0})/U({0})>>".format("x" * 32)
    return pdf(["secret"]).replace(b"/Root 1 0 R", f"/Root 1 0 R/Encrypt {guard}/ID[(a)(a)]".encode())


def bomb(size: int = 2**30) -> bytes:
    """A PDF whose page unpacks to so many bytes: one packed block, over and over."""
    block, packer, check = b"0 0 m " * 2**18, zlib.compressobj(9), zlib.adler32(b"")
    first, next_one = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    times = size // len(block)
    for _ in range(times):
        check = zlib.adler32(block, check)
    packed = first + next_one * (times - 1) + b"\3\0" + check.to_bytes(4, "big")
    page = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R>>"
    return written(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            page.encode(),
            stream(packed, "/Filter/FlateDecode"),
        ]
    )


def frames(kind: str, colours: Sequence[str], size: tuple[int, int] = (64, 48)) -> bytes:
    """A TIFF, WebP or GIF with a page of each colour."""
    pages, file = [Image.new("RGB", size, colour) for colour in colours], io.BytesIO()
    kinds: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_deflate"}}
    options = kinds.get(kind, {})
    pages[0].save(file, kind, save_all=True, append_images=pages[1:], **options)
    return file.getvalue()


def lying_tiff(size: tuple[int, int]) -> bytes:
    """A TIFF of a few bytes that says it has such a size."""
    tags = [
        (256, size[0]),
        (257, size[1]),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, size[1]),
        (279, 4),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + bytes(200)
