"""What the pages tell people to type in JavaScript works as it stands."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.node import NODE, PACKAGES
from tests.support.service import ROOT
from tests.support.snippets import JS, Snippet, snippets

pytestmark = pytest.mark.node
LIMIT_S = 60


@pytest.mark.parametrize("snippet", list(snippets(*JS)), ids=str)
def test_what_a_page_tells_people_to_type_in_javascript_works(
    snippet: Snippet, url: str, tmp_path: Path
) -> None:
    """Where a reader stands, with the packages installed and the examples beside them."""
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = tmp_path / "snippet.mjs"
    program.write_text(snippet.code.replace("http://127.0.0.1:8000", url), encoding="utf-8")
    done = subprocess.run([NODE, program], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert not re.search(r"(?i:error)|\b(?:undefined|NaN)\b|come back", done.stdout)
