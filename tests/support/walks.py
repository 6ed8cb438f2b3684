"""The walks of docs/architecture.md: which functions a request passes, in order, as the page lists them."""

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
STEP = re.compile(r"^\d+\. `([\w/]+\.py)`,? `(\w+)`", re.MULTILINE)
ROOMS = ("api/", "worker/", "shared/")

Step = tuple[str, str]


def walk(title: str) -> list[Step]:
    """The steps under a heading of the page: file and function."""
    section = PAGE.read_text().partition(f"\n### {title}\n")[2].partition("\n##")[0]
    return STEP.findall(section)


@contextmanager
def recorded() -> Iterator[list[Step]]:
    """Every call of a function of ours within the block, in all threads begun within it."""
    calls: list[Step] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(ROOT)):
            file = path[len(str(ROOT)) + 1 :]
            if file.startswith(ROOMS):
                calls.append((file, frame.f_code.co_name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def missed(steps: Sequence[Step], calls: Sequence[Step]) -> Step | None:
    """The first step that the calls do not pass in its order."""
    rest = iter(calls)
    return next((step for step in steps if step not in rest), None)
