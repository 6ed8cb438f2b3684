"""A PNG's chunks as viewers read them: the pixels, and beside them only what changes how they look.

Pillow refuses a picture for any text, measure or animation in it that is damaged or unpacks to much.
"""

import struct
from contextlib import suppress
from typing import IO

from PIL import PngImagePlugin

HEEDED = frozenset({b"tRNS", b"iCCP", b"eXIf"})
"""Of the ancillary chunks (PNG, third edition, section 5.4), the first of each: there may be no more."""
MAX_PROFILE = 4 * 2**20
"""Bytes of a colour profile, unpacked; those of printers have more than one MiB."""


class Chunks(PngImagePlugin.PngStream):
    """What Pillow reads a PNG by. An ancillary chunk that it would raise for is not there."""

    fp: IO[bytes]

    def __init__(self, fp: IO[bytes]) -> None:
        super().__init__(fp)
        self._met = set[bytes]()

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Take in the chunk whose body is at `pos`, and leave the file at the body's end.

        Raises what Pillow raises, for what is not ancillary.
        """
        if not _is_ancillary(cid):
            return super().call(cid, pos, length)
        if cid in HEEDED - self._met:
            self._met.add(cid)
            with suppress(ValueError, SyntaxError, LookupError, struct.error):
                super().crc(cid, self.fp.read(length))
                self.fp.seek(pos)
                super().call(cid, pos, length)
        self.fp.seek(pos + length)
        return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Read the checksum behind a chunk. Raises SyntaxError where it is wrong and counts."""
        if _is_ancillary(cid):
            self.crc_skip(cid, data)
        else:
            super().crc(cid, data)


def read_as_viewers_do() -> None:
    """Have Pillow read all PNGs of this process so."""
    PngImagePlugin.PngStream = Chunks  # type: ignore[misc]
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE


def _is_ancillary(cid: bytes) -> bool:
    return cid[:1].islower()
