"""What the pages tell people to type in JavaScript works as it stands."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.contract.conftest import TINY
from tests.support.node import NODE, PACKAGES
from tests.support.service import ROOT
from tests.support.snippets import JS, Snippet, snippets

pytestmark = pytest.mark.node
LIMIT_S = 60


@pytest.mark.parametrize("snippet", list(snippets(*JS)), ids=str)
def test_what_a_page_says_to_type_in_javascript_works(snippet: Snippet, url: str, tmp_path: Path) -> None:
    done = _run(snippet.code.replace("http://127.0.0.1:8000", url), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert not re.search(r"(?i:error)|\b(?:undefined|NaN)\b|come back", done.stdout)


def test_who_hears_of_a_drained_model_is_not_told_to_return(url: str, drained: str, tmp_path: Path) -> None:
    (once,) = (snippet.code for snippet in snippets(*JS) if "come back in" in snippet.code)
    done = _run(once.replace("http://127.0.0.1:8000", url).replace(TINY, drained), tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert "InferenceClientProviderApiError" in done.stderr


def _run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Where a reader stands, with the packages installed and the examples beside them."""
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "examples").symlink_to(ROOT / "examples")
    program = folder / "snippet.mjs"
    program.write_text(code, encoding="utf-8")
    return subprocess.run([NODE, program], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
