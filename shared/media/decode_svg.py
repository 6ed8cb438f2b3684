"""Renders an SVG.

The renderer knows no scripts and no network, but reads pictures of this machine that an SVG names; such an
SVG is not shown to it.
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
EMBEDDED = ("#", "data:")
DOTS_PER_INCH = 96
GENERIC = ("font_family", "serif_family", "sans_serif_family", "monospace_family", "cursive_family")
FAMILIES = ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica")
LETTER = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">M</text></svg>'


def rendered(data: bytes, size: Size) -> bytes:
    """A PNG within a size. Raises UnusableError, ValueError."""
    elements = _Elements()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = elements.start, elements.end
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        raise UnusableError("it is cut short or damaged") from None
    family = _family() if elements.has_text else ""
    if family is None:
        raise UnusableError("it has text, and this machine has no fonts for it; send it as a PNG")
    # As XML says without a declaration; another encoding is rare.
    return _drawn(data.decode("utf-8-sig"), family, width=size[0], height=size[1])


def _drawn(markup: str, family: str, **size: int) -> bytes:
    """In the named family where the drawing's own is not here."""
    fonts: dict[str, Any] = dict.fromkeys(GENERIC, family) if family else {"skip_system_fonts": True}
    return svg_to_bytes(svg_string=markup, dpi=DOTS_PER_INCH, **fonts | size)


@cache
def _family() -> str | None:
    for family in FAMILIES:
        with Image.open(BytesIO(_drawn(LETTER, family)), formats=["PNG"]) as letter:
            if letter.getbbox():
                return family
    return None


class _Elements:
    """Looks at each element as the parser meets it, entities expanded."""

    def __init__(self) -> None:
        self.has_text = False
        self._open: list[str] = []

    def start(self, name: str, attributes: dict[str, Any]) -> None:
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

    def end(self, _: str) -> None:
        self._open.pop()
