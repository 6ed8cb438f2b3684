"""A real S3 server (moto) that can be gone for a while."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port

BUCKET = "pictures"
URL = f"s3://{BUCKET}/of/ours"
SECRET = "not-a-secret-that-may-be-told"


class ObjectStore:
    """Keeps everything in memory: stopping it loses all."""

    def __init__(self) -> None:
        self._port = free_port()
        self.restart()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def env(self) -> Mapping[str, str]:
        """The environment by which users of S3 name its endpoint."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        argv = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port))
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers)

    def make_bucket(self) -> None:
        httpx.put(f"{self.url}/{BUCKET}", timeout=PATIENCE_S).raise_for_status()

    def restart(self) -> None:
        """Empty, with its bucket."""
        self.start()
        self.make_bucket()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def names(self) -> set[str]:
        """The keys of all objects, and of uploads that were never finished."""
        listed = (
            httpx.get(f"{self.url}/{BUCKET}?list-type=2", timeout=PATIENCE_S).text
            + httpx.get(f"{self.url}/{BUCKET}?uploads", timeout=PATIENCE_S).text
        )
        return {part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]}

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url).status_code < 500
        except httpx.TransportError:
            return False


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    server = ObjectStore()
    try:
        yield server
    finally:
        server.kill()
