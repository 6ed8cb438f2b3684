"""The console script's entry: what holds from the first moment, while the commands are imported too."""

import io
import os
import sys

from shared.stopping import stop_at_once

PROCESSES = (["worker"], ["courier"])


def main() -> int:
    """Never ends with a traceback for Ctrl-C, or for output that is closed or of few letters."""
    try:
        if sys.argv[1:2] in PROCESSES:
            stop_at_once()
        _ready_output()
        from sightline.cli import main as typed

        return typed()
    except KeyboardInterrupt:
        return 130


def _ready_output() -> None:
    """Python has none for one that is closed, and ends at a letter that the terminal does not have."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
