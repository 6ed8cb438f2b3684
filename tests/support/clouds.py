"""Google's and Azure's object stores, as far as our client talks to them: in memory, without credentials."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.http_server import Server, serving
from tests.support.object_store import BUCKET

NOW, NOW_IN_MAIL = "2026-01-01T00:00:00.000Z", formatdate(1767225600, usegmt=True)
ACCOUNT = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


class Cloud(Server):
    """Both clouds at once: their calls differ. `objects` has those of `BUCKET` by key."""

    def __init__(self) -> None:
        super().__init__(_Call)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, str], bytes] = {}

    @property
    def env(self) -> Mapping[str, str]:
        """How users of each cloud name another endpoint."""
        return {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"gcs_base_url": self.url, **ACCOUNT}),
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.url,
        }


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        url = urlsplit(self.path)
        self.key = _key(url.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        return True

    def do_GET(self) -> None:
        if not self.key:
            return self._answer(HTTPStatus.OK, self._listed().encode())
        if (data := self.server.objects.get(self.key)) is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", "")):
            first, last = int(span[1]), min(int(span[2]), len(data) - 1)
            where = {"content-range": f"bytes {first}-{last}/{len(data)}"}
            return self._answer(HTTPStatus.PARTIAL_CONTENT, data[first : last + 1], where)
        return self._answer(HTTPStatus.OK, data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        query, objects = self.query, self.server.objects
        if source := self.headers.get("x-goog-copy-source") or self.headers.get("x-ms-copy-source"):
            if (data := objects.get(_key(urlsplit(source).path))) is None:
                return self._answer(HTTPStatus.NOT_FOUND)
            objects[self.key] = data
        elif part := query.get("partNumber") or query.get("blockid"):
            self.server.parts[self.key, part] = self.body
        elif query.get("comp") == "blocklist":
            self._joined(r"<Uncommitted>(.*?)<")
        else:
            objects[self.key] = self.body
        return self._answer(HTTPStatus.CREATED)

    def do_POST(self) -> None:
        if "uploads" in self.query:
            return self._answer(HTTPStatus.OK, b"<R><UploadId>upload</UploadId></R>")
        if self.query.get("comp") == "batch":
            return self._deleted()
        self._joined(r"<PartNumber>(.*?)<")
        return self._answer(HTTPStatus.OK, b"<R><ETag>whole</ETag></R>")

    def do_DELETE(self) -> None:
        gone = self.server.objects.pop(self.key, None) is None
        self._answer(HTTPStatus.NOT_FOUND if gone else HTTPStatus.ACCEPTED)

    def _deleted(self) -> None:
        """Azure's batch of deletions: each has a reply of its own in the answer."""
        answers = []
        for number, path in enumerate(re.findall(r"^DELETE (\S+) ", self.body.decode(), re.MULTILINE)):
            status = 404 if self.server.objects.pop(_key(path), None) is None else 202
            answers += [f"--part\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status} -\r\n\r\n\r\n"]
        kind = {"content-type": "multipart/mixed; boundary=part"}
        self._answer(HTTPStatus.ACCEPTED, f"{''.join(answers)}--part--\r\n".encode(), kind)

    def _joined(self, name: str) -> None:
        names = re.findall(name, self.body.decode())
        self.server.objects[self.key] = b"".join(self.server.parts.pop((self.key, name)) for name in names)

    def _listed(self) -> str:
        prefix = self.query.get("prefix", "")
        keys = sorted(key for key in self.server.objects if key.startswith(prefix))
        if self.query.get("comp") == "list":
            return f"<R><Blobs>{''.join(map(self._azure, keys))}</Blobs><NextMarker/></R>"
        return f"<R>{''.join(map(self._google, keys))}</R>"

    def _azure(self, key: str) -> str:
        data = self.server.objects[key]
        facts = f"<Content-Length>{len(data)}</Content-Length><Content-Type>a/b</Content-Type>"
        facts += f"<Last-Modified>{NOW_IN_MAIL}</Last-Modified><Etag>{_tag(data)}</Etag>"
        return f"<Blob><Name>{escape(key)}</Name><Properties>{facts}</Properties></Blob>"

    def _google(self, key: str) -> str:
        data = self.server.objects[key]
        facts = f"<Size>{len(data)}</Size><LastModified>{NOW}</LastModified><ETag>{_tag(data)}</ETag>"
        return f"<Contents><Key>{escape(key)}</Key>{facts}</Contents>"

    def _answer(self, status: HTTPStatus, body: bytes = b"", more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"etag": _tag(body), "last-modified": NOW_IN_MAIL, "content-length": str(len(body))}
        for name, value in (headers | dict(more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _key(path: str) -> str:
    """What stands behind the bucket's name."""
    return unquote(path).partition(BUCKET)[2].lstrip("/")


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@contextmanager
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    with serving(server):
        yield server
