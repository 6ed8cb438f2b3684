"""Hooks of mkdocs: the navigation is the sections of docs/README.md, each with the pages it lists.

What stands above these sections, the doors, stands on the front page as well.
"""

import re
from pathlib import Path
from typing import Any

INDEX = Path(__file__).parents[1] / "README.md"
# What our tests read behind a language, which mkdocs takes for no code block.
MARK = re.compile(r"^( *```\w+) .*$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")
DOORS = re.compile(r"<div .*?</div>\n", re.DOTALL)
FRONT = "README.md"


def on_config(config: Any) -> Any:
    """Called by mkdocs once its settings are read."""
    config.nav = [{"Sightline": FRONT}, {"Index": "docs/README.md"}, *map(_section, _sections())]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri == FRONT:
        title, line, rest = markdown.partition("\n")
        markdown = title + line + "\n" + _doors() + rest
        page.meta["hide"] = ["navigation", "toc"]  # three doors stand beside each other
    return MARK.sub(r"\1", markdown)


def _doors() -> str:
    """Their links as seen from the front page."""
    found = DOORS.search(INDEX.read_text(encoding="utf-8"))
    return LINK.sub(r"](docs/\1)", found[0]) if found else ""


def _sections() -> list[str]:
    return INDEX.read_text(encoding="utf-8").split("\n## ")[1:]


def _section(text: str) -> dict[str, list[str]]:
    title, _, rows = text.partition("\n")
    pages = (f"docs/{link}" if not link.startswith("../") else link[3:] for link in LINK.findall(rows))
    return {title: list(dict.fromkeys(pages))}
