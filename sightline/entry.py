"""The console script's entry: handles Ctrl-C and closed output even while the commands are being imported."""

import io
import os
import sys
from pathlib import Path

PROCESSES = (["worker"], ["courier"])


def main() -> int:
    """No traceback for Ctrl-C, for closed output, or for a terminal that lacks a character."""
    try:
        # First, so that no package of that name is taken for ours.
        sys.path.insert(0, str(root()))
        from shared.stopping import stop_at_once

        if sys.argv[1:2] in PROCESSES:
            stop_at_once()
        _ready_streams()
        from sightline.cli import main as typed

        return typed()
    except KeyboardInterrupt:
        return 130


def root() -> Path:
    """The folder of `shared`: inside this package once it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    return service if (service := package / "service").is_dir() else package.parent


def _ready_streams() -> None:
    """Python sets a closed stream to None, and fails at a character that the terminal's encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
