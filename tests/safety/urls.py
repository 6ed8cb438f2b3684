"""URLs that mean harm, each with what must become of it.

Those of `SPELLED` condemn themselves and are refused at the door; the others need a network of our own, where
the origin and the names are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.safety.internet import PUBLIC_V4, PUBLIC_V6
from tests.safety.resolver import named
from tests.support.pictures import Serve, answering, dripping, picture, webp_lossless_header

GOOD, REFUSED, FAILED, WRONG = "", "invalid_image_url", "fetch_failed", "invalid_image"
PICTURE = picture("PNG", (64, 48))
OK = b"HTTP/1.1 200 OK\r\n"
HOST = named(PUBLIC_V4)
TLS_NAMES = (HOST,)


@dataclass(frozen=True)
class Url:
    """`codes` are the errors that may be answered, GOOD for none; `serve` is what its origin does."""

    name: str
    url: str
    codes: frozenset[str]
    serve: Serve | None = None
    times: int = 1


PRIVATE_V4 = (
    "0.0.0.0", "0.0.0.1", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
PRIVATE_V6 = (
    "::", "::1", "::2", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::127.0.0.1", "100::1",
    "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::a9fe:a9fe", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
HOSTS = (
    # Addresses as libraries of the C world read them.
    "2130706433", "0x7f000001", "017700000001", "0x7f.0.0.1", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1",
    "0x0a.0.0.1", "10.1", "0", "00", "0x0", "0.0", "1", "4294967295", "4294967296", "127.0.0.01", "127.0.0.1.",
    "127.0.0.256", "127.0.0.0x1", "3232235521", "0xc0.0xa8.0.1", "169.254.43518", "0xA9FEA9FE", "2852039166",
    "127。0。0。1", "127．0．0．1", "１２７.0.0.1", "①②⑦.0.0.1",
    # IPv6 in every dress.
    "[::1%25lo]", "[fe80::1%25eth0]", "[0:0:0:0:0:0:0:1]", "[0000::1]", "[::ffff:0x7f.1]", "[::1", "::1]", "[]",
    "[v1.::1]", "[::127.1]", "[::ffff:127.1]",
    # Names of this machine and of its neighbours.
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "ⓛocalhost", "localhost.localdomain", "ip6.localdomain",
    "printer.local", "metadata.google.internal", "instance-data.ec2.internal", "router.home.arpa",
    # No hosts.
    "", ".", "..", "a..b", "-a.example", "a b.example", "exa%6dple.com", "a_b%00.example", "a" * 64 + ".example",
    ".".join(["a" * 60] * 5), "\u202eexample.com", "exam\u00adple.local", "ａ.local",
)  # fmt: skip
WHOLE = (
    "file:///etc/passwd", "FILE:///etc/passwd", "file://localhost/etc/passwd", "ftp://93.184.215.14/a.png",
    "gopher://93.184.215.14:80/_GET", "dict://93.184.215.14:80/", "ldap://93.184.215.14/", "jar:http://a/!/",
    "php://input", "blob:http://a.example/1", "javascript:alert(1)", "//93.184.215.14/a.png", "http:", "http:/",
    "http://", "http:///a.png", "http:a.png", "http:93.184.215.14/a.png", "https:///93.184.215.14",
    "http://user@93.184.215.14/", "http://user:secret@93.184.215.14/", "http://:@93.184.215.14/",
    "http://93.184.215.14@127.0.0.1/", "http://127.0.0.1@93.184.215.14/", "http://93.184.215.14%40127.0.0.1/",
    "http://127.0.0.1:80\\@93.184.215.14/", "http://93.184.215.14\\@127.0.0.1/", "http:\\\\127.0.0.1\\a",
    "http://93.184.215.14:22/", "http://93.184.215.14:25/",
    "http://93.184.215.14:6379/", "http://93.184.215.14:0/", "http://93.184.215.14:65536/",
    "http://93.184.215.14:-1/", "http://93.184.215.14:80x/", "http://93.184.215.14:8 0/",
    "http://93.184.215.14:８０８０8/", "http://93.184.215.14:99999999999999999999/",
    "http://93.184.215.14/a\r\nHost: 127.0.0.1", "http://93.184.215.14\t/", "http://93.184.215.14/\0",
    "http://93.184.215.14 a/", "http://93.184.215.14/" + "a" * 9000, "http://" + "a." * 5000 + "example/",
)  # fmt: skip


def spelled() -> Iterator[Url]:
    """What the door refuses by its text."""
    refused = frozenset({REFUSED})
    for ip in PRIVATE_V4:
        yield Url(f"address {ip}", f"http://{ip}/a.png", refused)
    for ip in PRIVATE_V6:
        yield Url(f"address {ip}", f"http://[{ip}]/a.png", refused)
    for number, host in enumerate(HOSTS):
        yield Url(f"host {number} {host[:40]!a}", f"http://{host}/a.png", refused)
    for number, url in enumerate(WHOLE):
        yield Url(f"url {number} {url[:50]!a}", url, refused)


SPELLED = tuple(spelled())


def body(data: bytes, *headers: bytes) -> Serve:
    lines = b"".join(header + b"\r\n" for header in headers)
    return answering(OK + lines + b"Content-Length: %d\r\n\r\n" % len(data), data)


def found(location: str, status: int = 302, *headers: bytes) -> Serve:
    lines = b"".join(header + b"\r\n" for header in headers)
    head = f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n".encode("utf-8", "replace")
    return answering(head + lines + b"\r\n")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def endless(head: bytes, piece: bytes) -> Serve:
    return dripping(head, piece, 0)


def slowly(head: bytes, piece: bytes) -> Serve:
    return dripping(head, piece, 0.5)


def cut(data: bytes) -> Serve:
    return answering(data)


TARGETS = (
    "http://127.0.0.1/", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/",
    "http://[::ffff:10.0.0.1]/", "http://0x7f.1/", "http://localhost/", "http://2130706433/", "//127.0.0.1/",
    "http://100.100.100.200/", "http://user:x@93.184.215.14/", "http://93.184.215.14:22/", "file:///etc/passwd",
    "ftp://93.184.215.14/", "data:image/png;base64,AAAA", "javascript:alert(1)", "http://metadata.google.internal/",
    "http:\\\\127.0.0.1\\", "http://127.0.0.1:80\\@93.184.215.14/", "http://１２７.0.0.1/",
    f"http://{named('192.168.1.1', tag='turn')}/", f"http://{named('fd00::1', tag='turn')}/",
    f"http://{named(PUBLIC_V4, '10.0.0.1', word='all', tag='turn')}/",
)  # fmt: skip
BODIES: dict[str, tuple[str, Serve]] = {
    "good": (GOOD, body(PICTURE)),
    "good without length": (GOOD, answering(OK + b"\r\n", PICTURE)),
    "good in chunks": (
        GOOD,
        answering(
            OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked(PICTURE[:9], PICTURE[9:]), b"0\r\n\r\n"
        ),
    ),
    "good of HTTP/1.0": (GOOD, answering(b"HTTP/1.0 200 OK\r\n\r\n", PICTURE)),
    "good behind early hints": (
        GOOD,
        answering(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 3, OK + b"\r\n" + PICTURE),
    ),
    "good of another type": (GOOD, body(PICTURE, b"Content-Type: text/html")),
    "good with cookies": (GOOD, body(PICTURE, b"Set-Cookie: a=b; Domain=.example")),
    "good by name elsewhere": (GOOD, found(f"http://{named(PUBLIC_V4, tag='other')}/good")),
    "good behind three redirects": (GOOD, found("/good behind two redirects".replace(" ", "%20"))),
    "good behind two redirects": (GOOD, found("good%20behind%20one%20redirect", 307)),
    "good behind one redirect": (GOOD, found(f"//{HOST}/good", 308)),
    "four redirects": (FAILED, found("/good%20behind%20three%20redirects")),
    "a redirect to itself": (FAILED, found("/a%20redirect%20to%20itself")),
    "a redirect to nowhere": (FAILED, answering(b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n")),
    "a redirect to no URL": (FAILED, found("http://[")),
    "a refresh": (WRONG, body(b"", b"Refresh: 0; url=http://127.0.0.1/")),
    "many choices": (FAILED, found("http://127.0.0.1/", 300)),
    "use a proxy": (FAILED, found("http://127.0.0.1/", 305)),
    "not modified": (FAILED, answering(b"HTTP/1.1 304 Same\r\n\r\n")),
    "no content": (WRONG, answering(b"HTTP/1.1 204 None\r\n\r\n")),
    "not there": (FAILED, answering(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nno!")),
    "broken": (FAILED, answering(b"HTTP/1.1 500 No\r\n\r\n")),
    "asks for a password": (FAILED, answering(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n")),
    "switches protocols": (FAILED, answering(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n")),
    "an HTML page": (WRONG, body(b"<html><img src=http://127.0.0.1/></html>", b"Content-Type: image/png")),
    "an SVG": (
        WRONG,
        body(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/'/></svg>"),
    ),
    "a bomb": (WRONG, body(webp_lossless_header(16_000, 16_000))),
    "a cut picture": (WRONG, body(PICTURE[: len(PICTURE) // 2])),
    "gzip": (FAILED, body(PICTURE, b"Content-Encoding: gzip")),
    "brotli and gzip": (FAILED, body(PICTURE, b"Content-Encoding: br, gzip")),
    "gzip said second": (
        FAILED,
        body(b"\x1f\x8b" + PICTURE, b"Content-Encoding: identity", b"Content-Encoding: gzip"),
    ),
    "gzip in transfer": (
        FAILED,
        answering(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", chunked(PICTURE)),
    ),
    "nothing": (FAILED, cut(b"")),
    "no HTTP": (FAILED, cut(b"SSH-2.0-OpenSSH_9.9\r\n")),
    "HTTP/2": (FAILED, cut(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    "half a status line": (FAILED, cut(b"HTTP/1.1 20")),
    "a status without meaning": (FAILED, cut(b"HTTP/1.1 999 ?\r\n\r\n")),
    "half a head": (FAILED, cut(OK + b"Content-Type: image/pn")),
    "a cut body": (FAILED, cut(OK + b"Content-Length: 5000\r\n\r\n" + PICTURE)),
    "a cut chunk": (FAILED, cut(OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + PICTURE)),
    "a chunk of nonsense": (FAILED, cut(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")),
    "a chunk too long to count": (
        FAILED,
        cut(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n"),
    ),
    "a length of nonsense": (FAILED, cut(OK + b"Content-Length: -5\r\n\r\n")),
    "a length too long to count": (FAILED, cut(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")),
    "two lengths": (FAILED, cut(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")),
    "a length beyond the limit": (FAILED, cut(OK + b"Content-Length: 99999999999\r\n\r\n")),
    "a head of a megabyte": (FAILED, cut(OK + b"X-A: b\r\n" * 150_000)),
    "a header of a megabyte": (FAILED, cut(OK + b"X-A: " + b"b" * 2**20)),
    "bytes beyond ASCII in the head": (FAILED, cut(OK + b"X-\xff\xfe: \xff\r\n\r\n")),
    "early answers without end": (FAILED, endless(b"", b"HTTP/1.1 102 Wait\r\n\r\n" * 100)),
    "headers without end": (FAILED, endless(OK, b"X-A: b\r\n" * 100)),
    "a body without end": (FAILED, endless(OK + b"\r\n", bytes(65_536))),
    "chunks without end": (FAILED, endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b"x") * 5000)),
    "trailers without end": (
        FAILED,
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n" * 1000),
    ),
    "a chunk's note without end": (
        FAILED,
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"b" * 65_536),
    ),
    "redirects of megabytes": (FAILED, endless(b"HTTP/1.1 302 Go\r\n", b"X-A: b\r\n" * 1000)),
    "silence": (FAILED, slowly(b"", b"")),
    "a head in drops": (FAILED, slowly(OK, b"X-A: b\r\n")),
    "a body in drops": (FAILED, slowly(OK + b"Content-Length: 500\r\n\r\n", b"x")),
    "chunks in drops": (FAILED, slowly(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")),
    "early answers in drops": (FAILED, slowly(b"", b"HTTP/1.1 102 Wait\r\n\r\n")),
    "a redirect in drops": (FAILED, slowly(b"HTTP/1.1 302 Go\r\nLocation: /good\r\n", b"X-A: b\r\n")),
    "a picture that does not end": (FAILED, slowly(OK + b"\r\n" + PICTURE, b"x")),
}


def fetched() -> Iterator[Url]:
    """What only fetching shows."""
    yield from _origins()
    yield from _redirects()
    yield from _names()
    yield from _places()


def _origins() -> Iterator[Url]:
    # A name each, since turns at a host are limited.
    for number, (name, (code, serve)) in enumerate(BODIES.items()):
        path = name.replace(" ", "%20")
        yield Url(name, f"http://{named(PUBLIC_V4, tag=f'b{number}')}/{path}", frozenset({code}), serve)


def _redirects() -> Iterator[Url]:
    refused = frozenset({REFUSED})
    for number, target in enumerate(TARGETS):
        status = (301, 302, 303, 307, 308)[number % 5]
        url = f"http://{named(PUBLIC_V4, tag=f'r{number}')}/to{number}"
        # What is no URL of http may also be called no URL.
        yield Url(f"{status} to {target[:60]}", url, refused | {FAILED}, found(target, status))
    again = named(PUBLIC_V4, "127.0.0.1", word="first", tag="again")
    yield Url("a redirect to itself, rebound", f"http://{again}/self", refused, found(f"http://{again}/good"))


def _names() -> Iterator[Url]:
    make: Callable[..., Url] = partial(Url, codes=frozenset({REFUSED}))
    for ip in (*PRIVATE_V4[2:], *PRIVATE_V6):
        yield make(f"a name for {ip}", f"http://{named(ip)}/good")
        yield make(f"a name for {ip} too", f"http://{named(PUBLIC_V4, ip, word='all')}/good")
    yield make("an alias", f"http://{named('10.0.0.1', word='alias')}/good")
    yield make("a name in the other family", f"http://{named(PUBLIC_V4, '::1', word='all')}/good")
    yield make("the private one first", f"http://{named('127.0.0.1', PUBLIC_V4, word='all')}/good")
    for ip in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200"):
        turns = named(PUBLIC_V4, ip, word="first")
        yield make(
            f"a name that turns to {ip}", f"http://{turns}/good", codes=frozenset({GOOD, REFUSED}), times=3
        )
    yield make("no such name", "http://nobody.example/good", codes=frozenset({FAILED}))
    yield make("a name server that is silent", "http://silent.example/good", codes=frozenset({FAILED}))
    yield make("a name server that is garbled", "http://garbled.example/good", codes=frozenset({FAILED}))


def _places() -> Iterator[Url]:
    good, failed = frozenset({GOOD}), frozenset({FAILED})
    yield Url("an address", f"http://{PUBLIC_V4}/good", good)
    yield Url("an address of IPv6", f"http://[{PUBLIC_V6}]/good", good)
    yield Url("a name of IPv6", f"http://{named(PUBLIC_V6)}/good", good)
    yield Url("another port", f"http://{HOST}:8080/good", good)
    yield Url("TLS", f"https://{HOST}/good", good)
    yield Url("TLS on another port", f"https://{HOST}:8443/good", good)
    yield Url("a certificate for another name", f"https://{named(PUBLIC_V4, tag='tls')}/good", failed)
    yield Url("a certificate for no address", f"https://{PUBLIC_V4}/good", failed)
    yield Url("TLS that is none", f"https://{HOST}:8080/good", failed)
    yield Url("TLS where none is expected", f"http://{HOST}:443/good", failed)
    yield Url("a query and a fragment", f"http://{HOST}/good?a=/../x#y", good)
    yield Url("a path beyond ASCII", f"http://{HOST}/ä/é/good", good)


FETCHED = tuple(fetched())
