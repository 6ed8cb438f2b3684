"""The reference pages tell the truth about the settings and errors of this release."""

from pathlib import Path

import pytest

from docs.generate import pages

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: python -m docs.generate"
