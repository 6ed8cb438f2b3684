"""`python -m benchmarks.proof.cancelling`: what `overhead` measures of cancelling, by itself.

A minute or two; writes cancel.json and cancel.svg. Exits with 1 where the target was missed.
"""

import signal
import sys
from collections.abc import Sequence

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks import findings
from benchmarks.overhead import cancelling, site

SAMPLES = 100
LIMIT_MS = 500.0


def main() -> int:
    arguments = findings.arguments("proof.cancelling", __doc__ or "", samples=(SAMPLES, "jobs cancelled"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with site.opened() as opened:
        site.start_worker(opened, site.TINY)
        measured = findings.origin(opened.records.client())
        found = cancelling.measure(opened, arguments.samples)
    taken = {"next claim": found.next_claim, "next text": found.next_text}
    measured |= {
        "samples": arguments.samples,
        "ms": {name: {"p50": share(row, 0.5), "p99": share(row, 0.99)} for name, row in taken.items()},
    }
    bounds = [
        findings.Bound(f"cancel to {name}, p99", share(row, 0.99), LIMIT_MS, "ms")
        for name, row in taken.items()
    ]
    return findings.conclude(arguments.out, "cancel", measured, bounds, _drawn(taken))


def share(row: Sequence[float], part: float) -> float:
    """In ms."""
    return round(sorted(row)[min(int(len(row) * part), len(row) - 1)], 3)


def _drawn(taken: dict[str, list[float]]) -> Figure:
    """The share of the times that are no longer."""
    pyplot.switch_backend("svg")
    figure, panel = pyplot.subplots(figsize=(6, 3.5))
    for name, row in taken.items():
        panel.plot(sorted(row), [(at + 1) / len(row) for at in range(len(row))], label=f"to the {name}")
    panel.set_xscale("log")
    panel.set_xlabel("from the cancelling request, ms")
    panel.set_ylabel("share of the cancelled jobs")
    panel.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    sys.exit(main())
