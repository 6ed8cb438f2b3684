"""SVGs from a seed, each of which tries to show a picture of this machine, or to make two parsers disagree."""

import random
from base64 import b64encode
from pathlib import Path

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="20">'
WHOLE = 'width="40" height="20"'
PROLOGS = (
    "",
    "<?xml version='1.0'?>",
    "<?xml version='1.0' encoding='iso-8859-1' standalone='yes'?>",
    "<?xml version='1.0' encoding='windows-1252' standalone='no'?>",
    "<?xml-stylesheet href='{file}' type='text/css'?>",
    "<!-- <!DOCTYPE svg [<!ENTITY a '{file}'>]> -->",
)
IDS = ("", "", "SYSTEM '{file}'", "PUBLIC '-//W3C//DTD SVG 1.1//EN' 'http://www.w3.org/svg11.dtd'")
DECLARATIONS = (
    *["<!ENTITY {name} '{value}'>"] * 9,
    *["<!ENTITY {name} SYSTEM '{file}'>"] * 4,
    "<!ENTITY {name} PUBLIC 'x' '{file}'>",
    "<!ENTITY {name} SYSTEM '{file}' NDATA png>",
    "<!ENTITY % {name} '{value}'>",
    "<!ENTITY % {name} SYSTEM '{file}'>",
    "%{name};",
    "<!ATTLIST image href CDATA '{file}'>",
    "<!ATTLIST image xlink:href CDATA #FIXED '{file}'>",
    "<!ATTLIST g xml:base CDATA '{folder}/'>",
    "<!-- <!ENTITY {name} '{value}'> -->",
    "<?xml-stylesheet href='{file}'?>",
)
VALUES = (
    "#a",
    "data:",
    "<g/>",
    "{file}",
    "&{name};",
    "&#37;{name};",
    *['<image href="{file}" ' + WHOLE + "/>"] * 3,
    '&#60;image href="{file}" ' + WHOLE + "/>",
    '"/><image href="{file}" ' + WHOLE + "/>",
)
HREFS = (
    "{file}",
    "file://{file}",
    "&{name};",
    "marker.png",
    "#marker.png",
    "data:marker.png",
    " {file}",
    "DATA:{file}",
)
SHAPES = (
    *["&{name};"] * 9,
    '<image href="{href}" ' + WHOLE + "/>",
    '<image xlink:href="{href}" ' + WHOLE + "/>",
    '<image xmlns:q="http://www.w3.org/1999/xlink" q:href="{href}" ' + WHOLE + "/>",
    '<s:image xmlns:s="http://www.w3.org/2000/svg" href="{href}" ' + WHOLE + "/>",
    '<IMAGE href="{href}" ' + WHOLE + "/>",
    '<g xml:base="{folder}/"><image href="{href}" ' + WHOLE + "/></g>",
    '<image href="#a" ' + WHOLE + '><set attributeName="href" to="{file}"/></image>',
    '<use href="{href}" ' + WHOLE + "/>",
    '<use xlink:href="{file}#a" ' + WHOLE + "/>",
    '<filter id="f"><feImage href="{href}"/></filter><rect ' + WHOLE + ' filter="url(#f)"/>',
    '<pattern id="p" ' + WHOLE + '><image href="{href}" ' + WHOLE + '/></pattern><rect ' + WHOLE + ' fill="url(#p)"/>',
    '<style>@import "{file}"; rect{{fill:url({file})}} image{{href:url({file})}}</style><rect ' + WHOLE + "/>",
    "<style><![CDATA[@import url('{file}');]]></style><rect " + WHOLE + ' style="filter:url({href})"/>',
    '<switch><foreignObject><image href="{href}"/></foreignObject><image href="{href}" ' + WHOLE + "/></switch>",
    '<image ' + WHOLE + ' href="data:image/svg+xml;base64,{inner}"/>',
    "<rect " + WHOLE + ' mask="url({file})" fill="red"/>',
)  # fmt: skip


def drawing(seed: int, marker: Path) -> bytes:
    """One that may show `marker`, by any way that XML, SVG or CSS has to name a file."""
    chance = random.Random(seed)
    return _drawing(chance, marker, chance.random() < 0.3)


def _drawing(chance: random.Random, marker: Path, nests: bool) -> bytes:
    def filled(text: str) -> str:
        name = chance.choice("aaab")
        value, href = (chance.choice(words).format(name=name, file=marker) for words in (VALUES, HREFS))
        inner = b64encode(_drawing(chance, marker, False)).decode() if nests and "{inner}" in text else ""
        more = {"value": value, "href": href, "inner": inner, "folder": marker.parent}
        return text.format(name=name, file=marker, **more)

    subset = "".join(filled(chance.choice(DECLARATIONS)) for _ in range(chance.randrange(4)))
    doctype = f"<!DOCTYPE svg {filled(chance.choice(IDS))} [{subset}]>" if subset else ""
    shapes = "".join(filled(chance.choice(SHAPES)) for _ in range(chance.randrange(1, 3)))
    return f"{filled(chance.choice(PROLOGS))}{doctype}{SVG}{shapes}</svg>".encode()
