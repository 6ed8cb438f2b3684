"""What the pages tell people to type works as it stands, against a live service."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ENV
from tests.support.clients import Api
from tests.support.service import COURIER, ROOT, Service, running_service
from tests.support.snippets import RUN, Snippet, snippets

LIMIT_S = 200
pytestmark = pytest.mark.timeout(LIMIT_S + 40)
BIN = Path(sys.executable).parent
# A target is looked up in the Makefile (tests/unit/project/test_docs.py); a container needs an engine that is
# not everywhere (tests/unit/project/test_containers.py).
ELSEWHERE = ("make ", "docker ")
# What speaks with the service at its usual address.
ASKING = re.compile(r"\.venv/bin/sightline (?:ask|estimate|(?:jobs|models|batches) \w+)")
MODEL = f"""
[[models]]
id = "sightline/tiny"
source = "{ROOT / "models/tiny"}"
"""


@pytest.fixture(scope="module")
def shipped() -> Iterator[Service]:
    """What a reader has: the one model of the repository, and a job that has ended, as of `make run`."""
    with running_service(MODEL, ENV) as service:
        service.ready("api", COURIER, "sightline/tiny")
        with Api(service.url()) as api:
            api.ended(api.submit(model="sightline/tiny", input={"prompt": "What is a job?"}))
        yield service


def runnable() -> list[Snippet]:
    found = snippets(*RUN)
    return [s for s in found if s.kind == "python" or any(not c.startswith(ELSEWHERE) for c in s.commands)]


@pytest.mark.parametrize("snippet", runnable(), ids=str)
def test_what_a_page_tells_people_to_type_works(snippet: Snippet, shipped: Service) -> None:
    code = snippet.code
    if snippet.kind == "sh":
        code = "\n".join(c for c in snippet.commands if not c.startswith(ELSEWHERE))
    code = code.replace("http://127.0.0.1:8000", shipped.url())
    code = ASKING.sub(rf"\g<0> --url {shipped.url()}", code)
    code = code.replace(".venv/bin", str(BIN))
    shell = ["bash", "-euo", "pipefail", "-c", code]
    done = _finished([sys.executable, "-c", code] if snippet.kind == "python" else shell, shipped)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert not re.search(r"(?i:error|traceback)|\bNone\b", done.stdout)


def _finished(argv: list[str], service: Service) -> "subprocess.CompletedProcess[str]":
    """Run to the end; what a block has started and left running is ended with it."""
    env = os.environ | {"SIGHTLINE_REDIS__URL": service.redis.url(), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)
