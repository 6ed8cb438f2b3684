"""The record store's code: one library of Redis Functions, sent to whichever server lacks it.

Its name holds a digest of the code. Two releases on one server each have their own library, and of two
processes that load the same one at once both are right.
"""

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "functions"
BASE = "base"
_FUNCTION = re.compile(r"^(?:transition|hot)\('(\w+)'(?:, ((?:'[\w# ]*'(?:\s*\.\. )?)+))?", re.MULTILINE)
"""Functions, and the parameters of those that take them in order."""


class Library:
    """The files of a folder as one library: `base` first, each other one a block with a table of its name."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.lua"))}
        base = files.pop(BASE)
        code = "\n".join([*map(_table, files), base, *map(_block, files.values())])
        digest = hashlib.sha1(code.encode(), usedforsecurity=False).hexdigest()[:10]
        self.name = f"sl_{digest}"
        self.code = f"#!lua name={self.name}\n{code.replace('@NAME@', self.name)}"
        self.functions = {name: _parameters(names) for name, names in _FUNCTION.findall(code)}


def _parameters(names: str) -> tuple[str, ...] | None:
    return tuple(re.findall(r"\w+", names)) if names else None


def _table(name: str) -> str:
    return f"local {''.join(word.capitalize() for word in name.split('_'))} = {{}}"


def _block(code: str) -> str:
    return f"do\n{code}end"


LIBRARY = Library()
