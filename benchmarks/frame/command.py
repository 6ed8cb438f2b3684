"""The command line around a benchmark: its options, its progress, its end."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from benchmarks.frame import report
from benchmarks.frame.report import Findings

T = TypeVar("T")
Say = Callable[[str], None]
Options = argparse.Namespace
Measure = Callable[[Options, Say], Findings]
TERMINATED = 143
EPILOG = """\
Run it on an idle machine: other work on it is in the figures. Everything listens on 127.0.0.1 only and ends
with the command. It writes {name}.json and {name}.svg and exits with 1 where a target is missed.
benchmarks/README.md says what each figure means; `python -m docs.generate` writes docs/benchmarks.md from
the results.
"""


def main(name: str, doc: str, measure: Measure, **options: tuple[Any, str]) -> NoReturn:
    """Measure and report; exit with 1 if a target was missed.

    `options` are those other than `--out`: default and help of each.
    """
    arguments = parser(name, doc, **options).parse_args()
    results = _results(name)
    end_on_sigterm()
    about = report.origin()
    findings = measure(arguments, progress())
    print(report.table(findings))
    report.write(arguments.out, results, report.whole(about, findings), findings.picture)
    sys.exit(0 if findings.met else 1)


def parser(name: str, doc: str, **options: tuple[Any, str]) -> argparse.ArgumentParser:
    """Return `--out` and each of `options`, of the type of its default."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        epilog=EPILOG.format(name=_results(name)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, default=report.FOLDER, help="folder of the results")
    for option, (default, text) in options.items():
        shown = f" (default: {default})" if default else ""
        made.add_argument(f"--{option}", type=type(default), default=default, help=text + shown)
    return made


def _results(name: str) -> str:
    """A part of a benchmark writes results of its own."""
    return name.rpartition(".")[2]


def end_on_sigterm() -> None:
    """As Ctrl-C does: what was started is ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


def progress() -> Say:
    """Prints lines with the seconds since this was called."""
    began = time.monotonic()
    return lambda line: print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """To its end. SIGTERM cancels it, as Ctrl-C does, and the process ends once all that it started has.

    An exception that a signal's handler raises would come up anywhere, in asyncio's own lines too.
    """

    async def watched() -> T:
        if (task := asyncio.current_task()) is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await coroutine

    handler = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        sys.exit(TERMINATED)
    finally:
        signal.signal(signal.SIGTERM, handler)
