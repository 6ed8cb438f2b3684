"""The page's source: nothing is styled, exported or drawn that the page does not use."""

import re

import pytest

from api.routes.page import FOLDER

STYLES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.css")}
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")}
MARKUP = (FOLDER / "index.html").read_text(encoding="utf-8")
COMMENT, BODY = re.compile(r"/\*.*?\*/", re.DOTALL), re.compile(r"\{[^{}]*\}")


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


@pytest.mark.parametrize("name", STYLES)
def test_no_rule_styles_what_is_nowhere(name: str) -> None:
    selectors = BODY.sub(" ", COMMENT.sub("", STYLES[name]))
    used = words(MARKUP).union(*map(words, SCRIPTS.values()))
    assert set(re.findall(r"[.#]([A-Za-z][\w-]*)", selectors)) - used == set()


def test_every_token_of_the_styles_is_used() -> None:
    everything = "".join(STYLES.values())
    named = set(re.findall(r"(--[\w-]+)\s*:", everything))
    assert {name for name in named if f"var({name})" not in everything} == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_exports_another_imports(name: str) -> None:
    exported = set(re.findall(r"export (?:async )?(?:const|function\*?|class) (\w+)", SCRIPTS[name]))
    others = set().union(*(words(text) for other, text in SCRIPTS.items() if other != name))
    assert exported - others == set()


def test_every_icon_is_drawn_somewhere() -> None:
    drawn = set(re.findall(r'symbol id="i-(\w+)"', MARKUP))
    used = set(re.findall(r"#i-(\w+)", MARKUP)).union(*map(words, SCRIPTS.values()))
    assert drawn - used == set()
