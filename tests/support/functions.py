"""The library's functions as they stand in its files: header, body, and what they call."""

import re
from dataclasses import dataclass
from functools import cache

from shared.store.script import BASE, FOLDER

_HEADER = re.compile(
    r"((?:^--[^\n]*\n)*)^transition\('(\w+)', \{([^}]*)\}, (?:function\(\)\n(.*?)^end\)|(\w+)\))$",
    re.M | re.S,
)
_HELPER = re.compile(r"^(?:local )?function ([\w.]+)\((?:[^\n]* end$|.*?^end$)", re.M | re.S)
_CALLED = re.compile(r"(?<![\w.:])(?:[A-Z]\w*\.\w+|\w+)(?=\()|(?<=(?:pcall|..try)\()\w+")


@dataclass(frozen=True)
class LuaFunction:
    name: str
    file: str
    header: str
    flags: str
    body: str

    @property
    def source(self) -> str:
        """The body with all functions that it calls, directly or through others."""
        return self._reached(helpers())

    @property
    def own(self) -> str:
        """The body with the functions of its own file that it calls."""
        return self._reached({place: found for place, found in helpers().items() if found[0] == self.file})

    def _reached(self, known: dict[tuple[str, str], tuple[str, str]]) -> str:
        seen: dict[tuple[str, str], tuple[str, str]] = {}
        waiting = [(self.file, self.body)]
        while waiting:
            file, code = waiting.pop()
            for name in _CALLED.findall(code):
                place = next((p for p in ((file, name), ("", name)) if p in known), None)
                if place and place not in seen:
                    seen[place] = known[place]
                    waiting.append((seen[place][0], seen[place][1]))
        return "\n".join([self.body, *(code for _, code in seen.values())])


def code(source: str) -> str:
    """The source without its comments."""
    return "\n".join(line.split("--")[0] for line in source.splitlines())


@cache
def functions() -> dict[str, LuaFunction]:
    return {
        match[2]: LuaFunction(match[2], path.stem, match[1], match[3], code(match[4] or f"{match[5]}()"))
        for path in sorted(FOLDER.glob("*.lua"))
        for match in _HEADER.finditer(path.read_text(encoding="utf-8"))
    }


@cache
def helpers() -> dict[tuple[str, str], tuple[str, str]]:
    """File and code of each helper, by (the file that may call it, its name); "" = any file may."""
    return {
        ("" if "." in match[1] or path.stem == BASE else path.stem, match[1]): (path.stem, code(match[0]))
        for path in sorted(FOLDER.glob("*.lua"))
        for match in _HELPER.finditer(path.read_text(encoding="utf-8"))
    }


def sources() -> str:
    """All files, one after the other."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.lua")))
