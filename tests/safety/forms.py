"""Forms that no client should send to where files are uploaded."""

from collections.abc import Iterator

from tests.safety.bodies import Sent
from tests.support.pictures import webp_lossless_header

EDGE = b"x7"
KIND = f"multipart/form-data; boundary={EDGE.decode()}"


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (EDGE, name, more, value)


def file(value: bytes, filename: bytes = b"a.jsonl") -> bytes:
    return part(b"file", value, b'; filename="' + filename + b'"')


PURPOSE = part(b"purpose", b"batch")
END = b"--" + EDGE + b"--\r\n"


BODIES = {
    "nothing": b"", "an end": END, "no end": PURPOSE + file(b"{}"), "no file": PURPOSE + END, "no purpose": file(b"{}") + END,
    "an empty file": PURPOSE + file(b"") + END, "two files": PURPOSE + file(b"{}") * 2 + END,
    "an unknown purpose": part(b"purpose", b"world peace") + file(b"{}") + END, "two purposes": PURPOSE * 2 + file(b"{}") + END,
    "an unknown field": PURPOSE + part(b"path", b"/etc/passwd") + file(b"{}") + END,
    "1,000 fields": b"".join(part(b"f%d" % n, b"v") for n in range(1000)) + END,
    "a field of a megabyte": part(b"purpose", b"b" * 2**20) + file(b"{}") + END,
    "a header of a megabyte": part(b"n" * 2**20, b"v") + END,
    "headers without end": b"--" + EDGE + b"\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n" + END,
    "no name": b"--" + EDGE + b"\r\nContent-Disposition: form-data\r\n\r\nv\r\n" + END,
    "no disposition": b"--" + EDGE + b"\r\n\r\nv\r\n" + END,
    "another disposition": b"--" + EDGE + b'\r\nContent-Disposition: attachment; filename="/etc/passwd"\r\n\r\nv\r\n' + END,
    "a part in base64": b"--" + EDGE + b'\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\ne30=\r\n" + PURPOSE + END,
    "a form in a form": part(b"file", PURPOSE + END, b"\r\nContent-Type: multipart/mixed; boundary=y") + END,
    "text before": b"text\r\n" * 500 + PURPOSE + file(b"{}") + END, "text behind": PURPOSE + file(b"{}") + END + b"text" * 500,
    "a bomb to see": part(b"purpose", b"vision") + file(webp_lossless_header(16_000, 16_000), b"a.png") + END,
    "no picture to see": part(b"purpose", b"vision") + file(b"{}", b"a.png") + END,
    "JSON": b"{}", "dashes": b"-" * 100_000, "edges": (b"\r\n--" + EDGE) * 10_000,
    "a life of words": part(b"expires_after[seconds]", b"NaN") + PURPOSE + file(b"{}") + END,
    "a life without end": part(b"expires_after[seconds]", b"9" * 900) + PURPOSE + file(b"{}") + END,
}  # fmt: skip
NAMES = (
    b"../../etc/passwd", b"a\0b", b"n" * 5000, b"\xff\xfe", "\u202egnp.exe".encode(), b"", b'a\\"b', b"a\r\nb",
)  # fmt: skip
KINDS = (
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5000,
    "multipart/mixed; boundary=x7", "application/json", 'multipart/form-data; boundary="x7',
    "multipart/form-data; boundary=\u00e4",
)  # fmt: skip


def forms() -> Iterator[Sent]:
    yield from (Sent(name, body, KIND) for name, body in BODIES.items())
    for name in NAMES:
        yield Sent(f"a file of the name {name[:20]!a}", PURPOSE + file(b"{}", name) + END, KIND)
    for kind in KINDS:
        yield Sent(f"a form as {kind[:40]!a}", PURPOSE + file(b"{}") + END, kind)
