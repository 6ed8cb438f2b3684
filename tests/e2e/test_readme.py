"""What the README and the pages in docs/ tell people to type works as it stands, against a live service."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ENV
from tests.support.service import COURIER, ROOT, Service, running_service

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Their own tests: tests/e2e/test_run.py, and whoever runs this one.
ELSEWHERE = "make "
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


MODEL = f"""
[[models]]
id = "sightline/tiny"
source = "{ROOT / "models/tiny"}"
"""


@pytest.fixture(scope="module")
def shipped() -> Iterator[Service]:
    """What a reader has: the one model of the repository."""
    with running_service(MODEL, ENV) as service:
        service.ready("api", COURIER, "sightline/tiny")
        yield service


def snippets() -> list[tuple[str, str]]:
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [(kind, code) for kind, code in blocks if not code.startswith(ELSEWHERE)]


@pytest.mark.parametrize(("kind", "code"), snippets(), ids=lambda value: value.strip().splitlines()[0][:40])
def test_what_a_page_tells_people_to_type_works(kind: str, code: str, shipped: Service) -> None:
    code = code.replace("http://127.0.0.1:8000", shipped.url())
    code = code.replace(".venv/bin/sightline ask", f".venv/bin/sightline ask --url {shipped.url()}")
    code = code.replace(".venv/bin", str(Path(sys.executable).parent))
    argv = [sys.executable, "-c", code] if kind == "python" else ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not re.search(r"error|traceback|\bNone\b", done.stdout, re.IGNORECASE)
