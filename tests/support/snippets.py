"""The fenced blocks of the pages people read, each of a kind that says how it is checked."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

RUN = ("sh", "python")
"""Executed against a running service (tests/installation/test_docs.py)."""
JS = ("js",)
"""Executed as well, by `make test-clients` (tests/contract/test_pages.py)."""
BY_HAND = ("sh by-hand", "console")
"""Takes hours, or needs another machine: read by a shell, and what it names of ours must exist."""
DATA = ("toml", "json", "yaml", "dotenv", "ini")
"""Parsed, where Python has a parser."""
SHOWN = ("text", "mermaid")
"""Nothing to execute."""
KINDS = (*RUN, *JS, *BY_HAND, *DATA, *SHOWN)


@dataclass(frozen=True)
class Snippet:
    """One block; `kind` is the whole line behind the fence."""

    page: Path
    kind: str
    code: str

    def __str__(self) -> str:
        first = self.code.strip().partition("\n")[0]
        return f"{self.page.relative_to(ROOT)}: {first[:40]}"

    @property
    def commands(self) -> list[str]:
        """A shell block's lines, comments and prompts left out, continued lines joined."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ") for line in lines if line.strip() and not line.startswith("#")]


def pages() -> list[Path]:
    """What people read: at the top, in docs/ and of the benchmarks."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks/README.md"]


def snippets(*kinds: str) -> Iterator[Snippet]:
    """All blocks, or those of some kinds."""
    for page in pages():
        for kind, code in FENCE.findall(page.read_text(encoding="utf-8")):
            if not kinds or kind in kinds:
                yield Snippet(page, kind.strip(), code)


def execute(code: str, printed: Path, env: dict[str, str]) -> None:
    """In a process of its own: run a block of Python at the top of the repository; keep what it prints."""
    os.environ.update(env)
    os.chdir(ROOT)
    with printed.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    exec(code, {"__name__": "__main__"})  # noqa: S102
