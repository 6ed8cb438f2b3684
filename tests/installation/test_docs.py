"""What the pages tell people to type works as it stands, against a live service.

That service reaches for nothing beyond its machine but what callers name (docs/fleet.md).
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.e2e.conftest import ENV
from tests.support.clients import Api
from tests.support.service import COURIER, ROOT, Service, running_service
from tests.support.snippets import RUN, Snippet, execute, snippets

LIMIT_S = 200
pytestmark = pytest.mark.timeout(LIMIT_S + 40)
BIN = Path(sys.executable).parent
# A target is looked up in the Makefile, a test in its folder (tests/unit/project/test_docs.py); a container
# needs an engine that is not everywhere (tests/unit/deployment/test_containers.py).
ELSEWHERE = ("make ", "docker ", ".venv/bin/python -m pytest ")
# What speaks with the service at its usual address.
ASKING = re.compile(r"\.venv/bin/sightline (?:ask|estimate|map|(?:jobs|models|batches) \w+)")
MODEL = f"""
[[models]]
id = "sightline/tiny"
source = "{ROOT / "models/tiny"}"
dtype = "float32"
"""
OWN_WORKERS = '[[models]]\nid = "sightline/tiny"\nengine = "echo"\n'
"""What a block serves that starts workers itself or loads on trial: ours above is the real model."""
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
        with open({reached!r}, "a") as reached:
            reached.write(f"{{host}}\\n")
        raise OSError("there is no network here")

sys.addaudithook(watch)
"""
NAMED = {"pictures.example", "shop.example"}
"""What callers name: the last test, and docs/webhooks.md."""
CLIENTS = ["openai", "huggingface_hub", "requests", "standardwebhooks.webhooks", "tests.support.snippets"]
"""Loaded once for all blocks of Python, each of which runs in a process forked off."""


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every host is written down that the service reached for."""
    return tmp_path_factory.mktemp("watch") / "reached"


@pytest.fixture(scope="module")
def shipped(reached: Path) -> Iterator[Service]:
    """What a reader has after `make run`: the repository's model, its folder `data` and a job that has ended.

    None of its processes reaches another machine.
    """
    (ROOT / "data").mkdir(exist_ok=True)
    (reached.parent / "sitecustomize.py").write_text(WATCH.format(reached=str(reached)))
    with running_service(MODEL, ENV | {"PYTHONPATH": f"{reached.parent}:{ROOT}"}) as service:
        service.ready("api", COURIER, "sightline/tiny")
        with Api(service.url()) as api:
            asked = api.submit(model="sightline/tiny", input={"prompt": "What is a job?"})
            assert api.ended(asked)["status"] == "succeeded"
        yield service


def runnable() -> list[Snippet]:
    shown = snippets(*RUN)
    return [s for s in shown if s.kind == "python" or any(not c.startswith(ELSEWHERE) for c in s.commands)]


@pytest.fixture(scope="module")
def python() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(CLIENTS)
    return context


@pytest.mark.parametrize("snippet", runnable(), ids=str)
def test_what_a_page_tells_people_to_type_works(
    snippet: Snippet, shipped: Service, python: ForkServerContext, tmp_path: Path
) -> None:
    code = snippet.code
    if snippet.kind == "sh":
        code = "\n".join(c for c in snippet.commands if not c.startswith(ELSEWHERE))
    code = code.replace("http://127.0.0.1:8000", shipped.url())
    code = ASKING.sub(rf"\g<0> --url {shipped.url()}", code)
    code = code.replace(".venv/bin", str(BIN))
    env = {"SIGHTLINE_REDIS__URL": shipped.redis.url(), "PYTHONPATH": str(ROOT)}
    if re.search(r"sightline (?:node|doctor)", code):
        (tmp_path / "models.toml").write_text(OWN_WORKERS)
        env["SIGHTLINE_MODELS_FILE"] = str(tmp_path / "models.toml")
    printed = tmp_path / "printed"
    status = _forked(python, code, printed, env) if snippet.kind == "python" else _typed(code, printed, env)

    shown = printed.read_text()
    assert status == 0, shown
    assert shown.strip()
    assert not re.search(r"(?i:error|traceback)|\bNone\b", shown)


def _forked(python: ForkServerContext, code: str, printed: Path, env: dict[str, str]) -> int | None:
    process = python.Process(target=execute, args=(code, printed, env))
    process.start()
    process.join(LIMIT_S)
    process.kill()
    return process.exitcode


def _typed(code: str, printed: Path, env: dict[str, str]) -> int:
    """Run to the end; what a block has started and left running is ended with it."""
    argv = ["bash", "-euo", "pipefail", "-c", code]
    with (
        printed.open("w") as out,
        subprocess.Popen(
            argv, cwd=ROOT, env=os.environ | env, stdout=out, stderr=out, start_new_session=True
        ) as process,
    ):
        try:
            return process.wait(LIMIT_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_service_without_a_network_answers_and_reaches_for_nothing_that_no_caller_named(
    shipped: Service, reached: Path
) -> None:
    """Whatever the pages above have asked of it."""
    with Api(shipped.url()) as api:
        picture = {"prompt": "What is this?", "images": ["http://pictures.example/one.png"]}
        named = api.submit(model="sightline/tiny", input=picture)
        assert api.ended(named)["error"]["code"] == "fetch_failed"
    hosts = set(reached.read_text().split())
    assert "pictures.example" in hosts
    assert hosts <= NAMED
