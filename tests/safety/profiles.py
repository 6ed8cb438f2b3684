"""ICC profiles that cost their reader most: tables in many dimensions (ICC.1:2001-04, sections 6.1 and 6.5.8)."""

import struct

D50 = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
IDENTITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x10000)
RAMP = bytes(range(256))


def lookup_profile(channels: int, grid: int) -> bytes:
    """Of RGB or CMYK, to Lab by a table of `grid` points in each dimension."""
    table = bytes(number * 37 % 251 for number in range(3 * grid)) * (grid ** (channels - 1))
    lookup = b"mft1" + struct.pack(">IBBBB", 0, channels, 3, grid, 0) + IDENTITY + RAMP * channels
    text = b"a table\0"
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + D50,
        b"A2B0": lookup + table + RAMP * 3,
    }
    return _profile(b"RGB " if channels == 3 else b"CMYK", tags)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    at = 128 + 4 + 12 * len(tags)
    index = body = b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        index += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"", 0x02100000, b"prtr", space, b"Lab ")
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(24) + bytes(4) + D50 + bytes(48)
    return head + struct.pack(">I", len(tags)) + index + body
