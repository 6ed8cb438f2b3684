"""Renders an SVG.

The renderer reads XML in its own way, and would show pictures of this machine that an SVG names. So it gets
only what our parser has read and checked, written anew without a DOCTYPE.
"""

from functools import cache
from io import BytesIO
from typing import Any
from xml.parsers import expat

from PIL import Image
from resvg_py import svg_to_bytes

from shared.media.decoder_protocol import UnusableError
from shared.media.sizes import Size

# The renderer goes into elements by recursion; drawing programs nest some dozens.
MOST_NESTED = 128
# Characters for each byte of a file, and for any file: an entity may stand for a long text.
MOST_GROWTH, SMALL = 20, 2**20
EMBEDDED = ("#", "data:")
DOTS_PER_INCH = 96
# What does not begin with a "/" is looked for beneath it, where nothing can be.
NOWHERE = "/dev/null"
GENERIC = ("font_family", "serif_family", "sans_serif_family", "monospace_family", "cursive_family")
FAMILIES = ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica")
LETTER = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">M</text></svg>'


def rendered(data: bytes, size: Size) -> bytes:
    """Return a PNG of this size. Raise UnusableError, ValueError."""
    written = _Rewriting(MOST_GROWTH * len(data) + SMALL)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = written.start, written.end
    parser.CharacterDataHandler = written.text
    parser.EntityDeclHandler = parser.SkippedEntityHandler = written.entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        raise UnusableError("it is cut short or damaged") from None
    family = _family() if written.has_text else ""
    if family is None:
        raise UnusableError("it has text, and this machine has no fonts for it; send it as a PNG")
    return _drawn("".join(written.pieces), family, width=size[0], height=size[1])


def _drawn(markup: str, family: str, **size: int) -> bytes:
    """In the named family where the drawing's own is not here."""
    fonts: dict[str, Any] = dict.fromkeys(GENERIC, family) if family else {"skip_system_fonts": True}
    return svg_to_bytes(svg_string=markup, dpi=DOTS_PER_INCH, resources_dir=NOWHERE, **fonts | size)


@cache
def _family() -> str | None:
    for family in FAMILIES:
        with Image.open(BytesIO(_drawn(LETTER, family)), formats=["PNG"]) as letter:
            if letter.getbbox():
                return family
    return None


class _Rewriting:
    """Checks and writes what the parser reads, its entities expanded. Each method may raise UnusableError."""

    def __init__(self, room: int) -> None:
        """At most as many characters are written as there is room for."""
        self.pieces, self.has_text, self._room = list[str](), False, room
        self._open: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2].lower()
        # Where there is a switch, the renderer takes what stands beside it.
        if local == "foreignobject" and "switch" not in self._open[-1:]:
            raise UnusableError("it has HTML in it, which is not drawn; send it as a PNG")
        self._open.append(local)
        if len(self._open) > MOST_NESTED:
            raise UnusableError("its elements are nested too deeply")
        self.has_text = self.has_text or local == "text"
        for attribute, value in attributes.items() if local in ("image", "feimage") else ():
            is_address = attribute.rpartition(":")[2].lower() == "href"
            if is_address and not value.strip().lower().startswith(EMBEDDED):
                raise UnusableError("it shows another file; embed that as a data: URI, or send a PNG")
        self._write("<", name, *(f' {key}="{_escaped(value)}"' for key, value in attributes.items()), ">")

    def end(self, name: str) -> None:
        self._open.pop()
        self._write(f"</{name}>")

    def text(self, text: str) -> None:
        self._write(_escaped(text))

    def entity(self, _: str, is_parameter: bool, value: str | None = None, *__: object) -> None:
        """One that is declared, or used and not declared here."""
        if is_parameter or value is None:
            reason = "it needs an entity of another file, or declares a parameter entity"
            raise UnusableError(f"{reason}; save it as plain SVG, or send a PNG")

    def _write(self, *pieces: str) -> None:
        self.pieces += pieces
        self._room -= sum(map(len, pieces))
        if self._room < 0:
            raise UnusableError("its entities stand for too much text; send it as a PNG")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
