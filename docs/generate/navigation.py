"""Hooks of mkdocs: the navigation is the sections of docs/README.md, each with the pages it lists."""

import re
from pathlib import Path
from typing import Any

INDEX = Path(__file__).parents[1] / "README.md"
# What our tests read behind a language, which mkdocs takes for no code block.
MARK = re.compile(r"^( *```\w+) .*$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


def on_config(config: Any) -> Any:
    """Called by mkdocs once its settings are read."""
    config.nav = [{"Sightline": "README.md"}, {"Index": "docs/README.md"}, *map(_section, _sections())]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    return MARK.sub(r"\1", markdown)


def _sections() -> list[str]:
    return INDEX.read_text(encoding="utf-8").split("\n## ")[1:]


def _section(text: str) -> dict[str, list[str]]:
    title, _, rows = text.partition("\n")
    pages = (f"docs/{link}" if not link.startswith("../") else link[3:] for link in LINK.findall(rows))
    return {title: list(dict.fromkeys(pages))}
