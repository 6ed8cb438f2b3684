"""What people read stays short and in spoken English."""

import re
from pathlib import Path

import pytest

from sightline.cli import COMMANDS
from tests.support.snippets import FENCE, ROOT, pages
from tests.support.typed import helps

MOST_WORDS = 37_000
WORD = re.compile(r"\w")
ODD = re.compile(r"\b(?:told|anew|for ever|read over|nobody)\b", re.IGNORECASE)
CODE_SPAN = re.compile(r"`[^`\n]*`")


def test_all_pages_together_can_be_read_in_an_afternoon() -> None:
    """The bars of a table are no words."""
    words = [
        word for page in pages() for word in page.read_text(encoding="utf-8").split() if WORD.search(word)
    ]
    assert len(words) <= MOST_WORDS, "cut a page before you add another"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_usual_words(page: Path) -> None:
    text = CODE_SPAN.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert ODD.findall(text) == []


def test_help_uses_the_usual_words() -> None:
    texts = list(helps())
    assert len(texts) > len(COMMANDS), "the actions of a group have helps of their own"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts += re.findall(r"^\t@echo '(.*)'$", makefile, re.MULTILINE)
    assert [word for text in texts for word in ODD.findall(text)] == []
