"""A Hugging Face hub on this machine: the four routes that its client downloads a model by."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.http_server import Server, serving

COMMIT = "c0ffee" + "0" * 34


@dataclass
class ModelHub:
    """Serves `folder` as `id`. The first download of weights breaks off half way; `ranges` were asked for."""

    id: str
    folder: Path
    gated: bool = False
    breaks: bool = True
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir()) if path.is_file()}


@contextmanager
def model_hub(id: str, folder: Path, *, gated: bool = False) -> Iterator[ModelHub]:
    hub = ModelHub(id, folder, gated)
    server = Server(type("Handler", (_Handler,), {"hub": hub}))
    hub.url = server.url
    with serving(server):
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: ModelHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path, files = self.path.partition("?")[0], self.hub.files()
        if not re.search(rf"/{self.hub.id}(/|$)", path):
            return self._send(401, b"{}", {"x-error-code": "RepoNotFound"}, body=body)
        if self.hub.gated:
            return self._send(403, b"{}", {"x-error-code": "GatedRepo"}, body=body)
        if "/resolve/" in path:
            return self._file(files[path.rpartition("/")[2]], body=body)
        rows = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324
            for name, data in files.items()
        ]
        siblings = [{"rfilename": name} for name in files]
        content = rows if "/tree/" in path else {"id": self.hub.id, "sha": COMMIT, "siblings": siblings}
        return self._send(200, json.dumps(content).encode(), {"content-type": "application/json"}, body=body)

    def _file(self, data: bytes, *, body: bool) -> None:
        asked = self.headers.get("range")
        begin = int(re.findall(r"\d+", asked)[0]) if asked else 0
        facts = {"etag": f'"{hashlib.sha1(data).hexdigest()}"', "x-repo-commit": COMMIT}  # noqa: S324
        if asked:
            self.hub.ranges.append(asked)
            facts["content-range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if body and self.hub.breaks and len(data) > 2**20:
            self.hub.breaks = False
            self.close_connection = True
            return self._send(
                200, data[: len(data) // 2], facts | {"content-length": str(len(data))}, body=True
            )
        return self._send(206 if asked else 200, data[begin:], facts, body=body)

    def _send(self, status: int, data: bytes, facts: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in ({"content-length": str(len(data))} | facts).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)
