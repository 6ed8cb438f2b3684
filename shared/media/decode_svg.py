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
MOST_NESTED = 256
EMBEDDED = ("#", "data:")
DOTS_PER_INCH = 96
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
    if elements.has_text and not _has_fonts():
        raise UnusableError("it has text, and the fonts of this machine are not installed; send it as a PNG")
    # As XML says without a declaration; another encoding is rare.
    markup = data.decode("utf-8-sig")
    return bytes(
        svg_to_bytes(
            svg_string=markup,
            width=size[0],
            height=size[1],
            dpi=DOTS_PER_INCH,
            skip_system_fonts=not elements.has_text,
        )
    )


class _Elements:
    """Looks at each element as the parser meets it, entities expanded."""

    def __init__(self) -> None:
        self.has_text = False
        self._depth = 0

    def start(self, name: str, attributes: dict[str, Any]) -> None:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise UnusableError("its elements are nested too deeply")
        local = name.rpartition(":")[2].lower()
        self.has_text = self.has_text or local == "text"
        for attribute, value in attributes.items() if local in ("image", "feimage") else ():
            is_address = attribute.rpartition(":")[2].lower() == "href"
            if is_address and not value.strip().lower().startswith(EMBEDDED):
                raise UnusableError("it shows another file; embed that as a data: URI, or send a PNG")

    def end(self, _: str) -> None:
        self._depth -= 1


@cache
def _has_fonts() -> bool:
    with Image.open(BytesIO(svg_to_bytes(svg_string=LETTER)), formats=["PNG"]) as letter:
        return letter.getbbox() is not None
