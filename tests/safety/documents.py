"""Documents that want gigabytes or for ever, that lie, or that reach out, each with what must become of it."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial

from tests.safety.case import ANY, BAD, ELSEWHERE, SHOWN, Case, cut, flipped, photo
from tests.support.documents import bomb, frames, locked, lying_tiff, pdf, stream, written

ONE = pdf(["one"])
TIFF, GIF, WEBP = (frames(kind, ["red", "green", "blue"]) for kind in ("TIFF", "GIF", "WEBP"))
CATALOGUE = b"<</Type/Catalog/Pages 2 0 R>>"
TREE = b"<</Type/Pages/Count 1/Kids[3 0 R]>>"
ACTIONS = {
    "a script without end": "/OpenAction<</S/JavaScript/JS(while(true){})>>",
    "a script by name": "/Names<</JavaScript<</Names[(a)<</S/JavaScript/JS(app.launchURL\\(1\\))>>]>>>>",
    "a program to start": "/OpenAction<</S/Launch/F(/bin/sh)/Win<</F(cmd.exe)>>>>",
    "an address to open": f"/OpenAction<</S/URI/URI({ELSEWHERE})>>",
    "a form to send": f"/OpenAction<</S/SubmitForm/F({ELSEWHERE})/Flags 4>>",
    "another file to open": "/OpenAction<</S/GoToR/F(/etc/passwd)/D[0/Fit]>>",
    "a form in XML": "/AcroForm<</XFA 2 0 R/NeedAppearances true>>",
    "itself as its outlines": "/Outlines 1 0 R",
    "layers of itself": "/OCProperties<</OCGs[1 0 R]/D<</Order[1 0 R]>>>>",
}
TREES: dict[str, tuple[str, *tuple[bytes, ...]]] = {
    "that holds itself": (BAD, b"<</Type/Pages/Count 1/Kids[2 0 R]>>"),
    "of two that hold each other": (BAD, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", b"<</Type/Pages/Count 1/Kids[2 0 R]>>"),
    "that holds itself a thousand times": (BAD, b"<</Type/Pages/Count 1000/Kids[" + b"2 0 R " * 1000 + b"]>>"),
    "of nothing": (BAD, b"<</Type/Pages/Count 1/Kids[9 0 R]>>"),
    "that is none": (BAD, b"(no tree)"),
    "whose kids are a number": (BAD, b"<</Type/Pages/Count 1/Kids 7>>"),
    "of less than no pages": (ANY, b"<</Type/Pages/Count -1/Kids[3 0 R]>>", b"<</Type/Page/MediaBox[0 0 9 9]>>"),
    "that leads to its catalogue": (ANY, b"<</Type/Pages/Count 1/Kids[1 0 R]>>"),
}  # fmt: skip
BOXES = (
    "[0 0 0 0]", "[0 0 -9 -9]", "[9 9 0 0]", "[0 0 1e38 1e38]", "[0 0 99999999999999999999 1]", "[0 0 1 14400]", "[(a) (b) (c) (d)]",
    "[2 0 R 2 0 R 2 0 R 2 0 R]", "[0 0 9]", "[-1e9 -1e9 1e9 1e9]", "7", "[0 0 200 200]/UserUnit 1e9", "[0 0 200 200]/Rotate 45",
    "[0 0 200 200]/Rotate -90000090", "[0 0 200 200]/CropBox[500 500 600 600]", "[0 0 200 200]/Parent 3 0 R",
)  # fmt: skip
CONTENTS = {
    "of a million saved states": b"q " * 10**6,
    "of restored states that were never saved": b"Q " * 10**5,
    "of a line of a million pieces": b"0 0 m " + b"9 9 l 0 9 l " * 500_000 + b"S",
    "of very small dashes": b"[0.00001]0 d 0 0 m 500 800 l S",
    "of a line wider than the world": b"1e30 w 0 0 m 9 9 l S",
    "scaled beyond all measure": b"1e30 0 0 1e30 0 0 cm 0 0 9 9 re f",
    "of no scale": b"0 0 0 0 0 0 cm 0 0 9 9 re f",
    "of a clip in a clip": b"0 0 500 500 re W n " * 20_000 + b"0 0 9 9 re f",
    "of operators that are none": b"foo bar (baz) << >> ] [ " * 10_000,
    "of a picture that says it is larger": b"BI /W 60000 /H 60000 /BPC 8 /CS /G ID abc EI",
    "of arrays in arrays": b"[" * 10**6,
    "of dictionaries in dictionaries": b"<<" * 10**6,
    "of a text that never ends": b"BT /F1 9 Tf (" + b"a" * 10**6,
    "of a picture of its own page": b"/X Do",
}
IMAGES = {
    "of 60,000 pixels a side": "/Width 60000/Height 60000/BitsPerComponent 8/ColorSpace/DeviceGray",
    "of less than no pixels": "/Width -9/Height -9/BitsPerComponent 8/ColorSpace/DeviceGray",
    "of 99 bits": "/Width 9/Height 9/BitsPerComponent 99/ColorSpace/DeviceGray",
    "of a palette of itself": "/Width 9/Height 9/BitsPerComponent 8/ColorSpace[/Indexed 5 0 R 255 5 0 R]",
    "masked by itself": "/Width 9/Height 9/BitsPerComponent 8/ColorSpace/DeviceGray/SMask 5 0 R",
    "of faxes": "/Width 60000/Height 60000/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/CCITTFaxDecode",
    "of JBIG2": "/Width 60000/Height 60000/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/JBIG2Decode",
    "of JPEG 2000": "/Width 60000/Height 60000/Filter/JPXDecode",
    "of JPEG": "/Width 60000/Height 60000/BitsPerComponent 8/ColorSpace/DeviceRGB/Filter/DCTDecode",
    "in a file elsewhere": f"/Width 9/Height 9/BitsPerComponent 8/ColorSpace/DeviceGray/F(/etc/passwd)/FFilter[({ELSEWHERE})]",
    "under filters that are none": "/Width 9/Height 9/BitsPerComponent 8/ColorSpace/DeviceGray/Filter[/Nothing/Crypt]",
}  # fmt: skip
WRONG = {
    "nothing": b"", "zeros": bytes(5000), "a header alone": b"%PDF-1.7\n", "two headers": b"%PDF-1.7\n%PDF-1.7\n%%EOF", "PostScript": b"%!PS-Adobe-3.0\n",
    "HTML": b"<html><iframe src='file:///etc/passwd'></html>", "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an ELF": b"\x7fELF" + bytes(90),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(90), "RTF": b"{\\rtf1 {\\object}}", "an old Word file": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "a gzipped PDF": gzip.compress(ONE), "a PNG": photo("PNG"), "a JPEG": photo("JPEG"), "a GIF header": b"GIF89a", "a TIFF header": b"II*\0\x08\0\0\0",
    "a WebP header": b"RIFF\xff\xff\xff\xffWEBPVP8X", "a big TIFF header": b"II+\0\x08\0\0\0" + bytes(8),
}  # fmt: skip


def documents() -> Iterator[Case]:
    for group in (wrong, broken, trees, pages, references, frame_by_frame, several):
        yield from group()


def _zip(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def page(content: bytes, *more: bytes, fields: str = "/MediaBox[0 0 595 842]") -> bytes:
    """A PDF of one page, whose font is F1 and whose picture X is the fifth object, or the page itself."""
    resources = f"/Resources<</XObject<</X {5 if more else 3} 0 R>>>>"
    head = f"<</Type/Page/Parent 2 0 R/Contents 4 0 R{resources}{fields}>>".encode()
    return written([CATALOGUE, TREE, head, stream(content), *more])


def wrong() -> Iterator[Case]:
    for name, data in WRONG.items():
        # A picture that comes as a file is shown; a job of pages has none.
        fate = ANY if name in ("a PNG", "a JPEG", "SVG") else BAD
        yield Case(f"{name} by the name of a document", partial(bytes, data), fate)
    yield Case("a ZIP of much", lambda: _zip("a", bytes(2**25)), BAD)
    yield Case("a Word file of much", lambda: _zip("word/document.xml", bytes(2**25)), BAD)


def broken() -> Iterator[Case]:
    for kind, whole in (("PDF", pdf(["a"] * 9)), ("TIFF", TIFF), ("GIF", GIF), ("WebP", WEBP)):
        yield from cut(kind, whole, ANY, (1, 3, 5, 7, 9))
        yield from flipped(kind, whole, 6, begin=12, each=3)
    for name, old, new in (
        ("of no table", b"xref\n0", b"xxxx\n9"),
        ("whose table is elsewhere", b"startxref\n", b"startxref\n9999999999"),
        ("whose table is its last", b"/Root 1 0 R", b"/Root 1 0 R/Prev 9"),
        ("of no catalogue", b"/Root 1 0 R", b"/Root 99 0 R"),
        ("whose catalogue is a page", b"/Root 1 0 R", b"/Root 4 0 R"),
        ("that says it is locked", b"/Root 1 0 R", b"/Root 1 0 R/Encrypt 1 0 R"),
        ("of a stream of terabytes", b"/Length ", b"/Length 999999999999"),
        ("of a stream of less than nothing", b"/Length ", b"/Length -"),
        ("of a stream as long as itself", b"/Length ", b"/Length 5 0 R%"),
    ):
        yield Case(f"PDF {name}", partial(ONE.replace, old, new), ANY)
    yield Case("PDF with a password", locked, BAD)
    yield Case("PDF whose table refers to itself", _looped, ANY)
    yield Case("PDF behind a kilobyte of junk", lambda: bytes(900) + ONE, ANY)
    yield Case("PDF that is a ZIP too", lambda: ONE + _zip("a", b"a"), SHOWN)
    yield Case("PDF that is a page for browsers too", lambda: ONE.replace(b"%PDF-1.7\n", b"%PDF-1.7<script>1</script>\n"), ANY)  # fmt: skip
    yield Case("PDF behind a picture", lambda: photo("GIF") + ONE, ANY)


def _looped() -> bytes:
    return ONE.replace(b"/Root 1 0 R", f"/Root 1 0 R/Prev {ONE.index(b'xref')}".encode())


def trees() -> Iterator[Case]:
    for name, (fate, *bodies) in TREES.items():
        yield Case(f"PDF of a tree {name}", partial(written, [CATALOGUE, *bodies]), fate)
    yield Case("PDF of a tree of 20,000 floors", lambda: _deep(20_000), ANY)
    yield Case("PDF of a tree that doubles on 30 floors", lambda: _doubling(30), ANY)
    yield Case("PDF of no pages", lambda: pdf([]), BAD)
    for count in (10**9, -(2**31), 0):
        yield Case(f"PDF of {count} pages, it says", partial(pdf, ["a"], count=count), ANY)
    yield Case("PDF of 20,000 pages", lambda: pdf(["a"] * 20_000), ANY)
    for box in BOXES:
        yield Case(f"PDF of a page of {box}", partial(page, b"", fields=f"/MediaBox{box}"), ANY)


def _deep(floors: int) -> bytes:
    """A tree whose every node has one child, and the page below the last."""
    nodes = [f"<</Type/Pages/Count 1/Kids[{3 + n} 0 R]>>".encode() for n in range(floors)]
    return written([CATALOGUE, *nodes, b"<</Type/Page/MediaBox[0 0 9 9]>>"])


def _doubling(floors: int) -> bytes:
    nodes = [
        f"<</Type/Pages/Count {2 ** (floors - n)}/Kids[{3 + n} 0 R {3 + n} 0 R]>>".encode()
        for n in range(floors)
    ]
    return written([CATALOGUE, *nodes, b"<</Type/Page/MediaBox[0 0 9 9]>>"])


def pages() -> Iterator[Case]:
    yield Case("PDF whose page unpacks to a gigabyte", bomb, BAD)
    yield Case("PDF whose page is packed five times", _packed, ANY)
    yield Case("PDF of a gigabyte of black", _black, ANY)
    for name, content in CONTENTS.items():
        yield Case(f"PDF of a page {name}", partial(page, content), ANY)
    for name, fields in IMAGES.items():
        image = stream(b"\0" * 81, f"/Type/XObject/Subtype/Image{fields}")
        yield Case(f"PDF of a picture {name}", partial(page, b"q 500 0 0 500 0 0 cm /X Do Q", image), ANY)
    form = "/Type/XObject/Subtype/Form/BBox[0 0 500 500]/Resources<</XObject<</X {} 0 R>>>>"
    yield Case("PDF of a form in itself", lambda: page(b"/X Do", stream(b"/X Do", form.format(5))), ANY)
    laughs = [stream(b"/X Do " * 10, form.format(6 + n)) for n in range(12)]
    yield Case("PDF of forms, ten in each of ten", lambda: page(b"/X Do", *laughs, stream(b"0 0 9 9 re f", form.format(5))), ANY)  # fmt: skip


def _packed() -> bytes:
    data = b"0 0 9 9 re f " * 10**6
    for _ in range(5):
        data = zlib.compress(data, 9)
    packed = stream(data, f"/Filter[{'/FlateDecode' * 5}]")
    head = b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 595 842]>>"
    return written([CATALOGUE, TREE, head, packed])


def _black() -> bytes:
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    fields = "/Type/XObject/Subtype/Image/Width 32768/Height 32768/BitsPerComponent 8/ColorSpace/DeviceGray"
    return page(b"q 500 0 0 500 0 0 cm /X Do Q", stream(packed, f"{fields}/Filter/FlateDecode"))


def references() -> Iterator[Case]:
    for name, catalogue in ACTIONS.items():
        yield Case(f"PDF with {name}", partial(pdf, ["one"], catalogue=catalogue), SHOWN)
    attached = f"/Names<</EmbeddedFiles<</Names[(a)<</F({ELSEWHERE})/EF<</F 4 0 R>>>>]>>>>"
    yield Case("PDF with a file in it", lambda: pdf(["one"], catalogue=attached), SHOWN)
    appearance = "/Annots[<</Type/Annot/Subtype/Widget/Rect[0 0 99 99]/AP<</N 3 0 R>>>>]"
    yield Case("PDF of a note that looks like its page", lambda: page(b"", fields="/MediaBox[0 0 99 99]" + appearance), ANY)  # fmt: skip


def frame_by_frame() -> Iterator[Case]:
    for side in (6000, 60_000, 2**31 - 1, 0):
        yield Case(f"TIFF of {side} pixels a side, it says", partial(lying_tiff, (side, side)), BAD)
    for name, tags in {
        "that is its own next": [(256, 9), (257, 9)],
        "of no tags": [],
        "of 99 bits": [(256, 9), (257, 9), (258, 99), (259, 1), (262, 2), (277, 65_535)],
        "packed in no known way": [(256, 9), (257, 9), (258, 8), (259, 4711), (262, 1), (273, 8), (279, 9)],
        "of tiles of 4 GB": [(256, 9), (257, 9), (322, 2**16), (323, 2**16), (324, 8), (325, 9)],
        "whose bytes are elsewhere": [
            (256, 9),
            (257, 9),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 2**31),
            (279, 9),
        ],
        "of strips of nothing": [(256, 9), (257, 9), (258, 8), (259, 1), (262, 1), (273, 8), (278, 0)],
    }.items():
        yield Case(f"TIFF of a frame {name}", partial(_tiff, tags), BAD)
    yield Case("GIF of a screen of 65,535 pixels a side", partial(_screened, GIF), ANY)
    yield Case("GIF of comments without end", lambda: GIF[:13] + b"!\xfe\x01a\0" * 200_000, BAD)
    yield Case("WebP of 4 GB, it says", lambda: WEBP[:4] + b"\xff" * 4 + WEBP[8:], ANY)
    yield Case("WebP of a canvas of 16,384 pixels a side", _canvas, BAD)


def _tiff(tags: Sequence[tuple[int, int]]) -> bytes:
    """One directory, which says that it comes next itself."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 8) + bytes(100)


def _screened(whole: bytes) -> bytes:
    return whole[:6] + b"\xff" * 4 + whole[10:]


def _canvas() -> bytes:
    at = WEBP.index(b"VP8X") + 12
    return WEBP[:at] + b"\xff\x3f\0\xff\x3f\0" + WEBP[at + 6 :]


def several() -> Iterator[Case]:
    """More pages than a question takes, of which a job may take the first; and good ones, so that a refusal of everything is noticed."""
    yield Case("GIF of 5,000 frames", lambda: frames("GIF", ["red", "green"] * 2500, (8, 8)), ANY)
    yield Case("WebP of 2,000 frames", lambda: frames("WEBP", ["red", "green"] * 1000, (8, 8)), ANY)
    yield Case("TIFF of 500 frames", lambda: frames("TIFF", ["red", "green"] * 250, (8, 8)), ANY)
    for name, whole in (("PDF", ONE), ("TIFF", TIFF), ("GIF", GIF), ("WebP", WEBP)):
        yield Case(f"{name} that is well", partial(bytes, whole), SHOWN)
