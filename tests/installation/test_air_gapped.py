"""docs/fleet.md: the service reaches for nothing beyond its machine but what callers name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import Api
from tests.support.service import COURIER, ROOT, Service, running_service

TINY = "sightline/tiny"
LOAD_S = 90
MODEL = f"""
[[models]]
id = "{TINY}"
source = "{ROOT / "models/tiny"}"
dtype = "float32"
rows = 2
"""
# Python runs a module of this name at the start of each process.
WATCH = """
import socket, sys
LOCAL = ("", None, "127.0.0.1", "localhost", "0.0.0.0", "::1", socket.gethostname())

def watch(event, arguments):
    host = ""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    if host not in LOCAL:
        with open({seen!r}, "a") as seen:
            seen.write(f"{{host}}\\n")
        raise OSError("there is no network here")

sys.addaudithook(watch)
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where every host is written down that was reached for."""
    return tmp_path / "seen"


@pytest.fixture
def cut_off(tmp_path: Path, seen: Path) -> Iterator[Service]:
    """A whole service, none of whose processes reaches another machine."""
    (tmp_path / "sitecustomize.py").write_text(WATCH.format(seen=str(seen)))
    with running_service(MODEL, {"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as service:
        service.ready("api", COURIER, TINY, deadline_s=LOAD_S)
        yield service


def test_a_service_without_a_network_answers_and_reaches_for_nothing_that_no_caller_named(
    cut_off: Service, seen: Path
) -> None:
    with Api(cut_off.url()) as api:
        asked = api.submit(model=TINY, input={"prompt": "What is a job?"})
        assert api.ended(asked)["status"] == "succeeded"
        assert not seen.exists(), seen.read_text()

        picture = {"prompt": "What is this?", "images": ["http://pictures.example/one.png"]}
        named = api.submit(model=TINY, input=picture)
        assert api.ended(named)["error"]["code"] == "fetch_failed"
        assert set(seen.read_text().split()) == {"pictures.example"}
