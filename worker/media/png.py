"""Has Pillow read a PNG's chunks as viewers do: the pixels, and otherwise only what changes how they look.

Pillow itself refuses a picture if any text, measure or animation in it is damaged or unpacks to too much.
"""

import struct
from contextlib import suppress
from typing import IO

from PIL import PngImagePlugin

HEEDED = frozenset({b"tRNS", b"iCCP", b"eXIf"})
"""The ancillary chunks that are read, the first of each: only one is allowed (PNG, 3rd ed., section 5.4)."""
MAX_PROFILE = 4 * 2**20
"""Bytes of an unpacked colour profile; printers' profiles exceed one MiB."""


class Chunks(PngImagePlugin.PngStream):
    """Pillow's reader of a PNG's chunks, but it skips ancillary chunks for which Pillow would raise."""

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
        """Read the checksum after a chunk. Raises SyntaxError if it is wrong and the chunk counts."""
        if _is_ancillary(cid):
            self.crc_skip(cid, data)
        else:
            super().crc(cid, data)


def read_as_viewers_do() -> None:
    """Have Pillow read all PNGs of this process with `Chunks`."""
    PngImagePlugin.PngStream = Chunks  # type: ignore[misc]
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE


def _is_ancillary(cid: bytes) -> bool:
    return cid[:1].islower()
