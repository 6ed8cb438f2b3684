"""Memory and keys over the run."""

from collections.abc import Sequence

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.soak.census import Sample

SHOWN = 8


def drawn(samples: Sequence[Sample]) -> Figure:
    """The kinds with most keys by name, the others together."""
    pyplot.switch_backend("svg")
    figure, (memory, keys) = pyplot.subplots(1, 2, figsize=(11, 4))
    times = [sample.at_s for sample in samples]
    memory.plot(times, [sample.used_bytes / 1e6 for sample in samples])
    memory.set_ylim(bottom=0)
    memory.set_ylabel("used_memory, MB")
    peaks = {
        kind: max(sample.keys.get(kind, 0) for sample in samples)
        for kind in sorted({kind for sample in samples for kind in sample.keys})
    }
    largest = sorted(peaks, key=lambda kind: -peaks[kind])[:SHOWN]
    rows = [[sample.keys.get(kind, 0) for sample in samples] for kind in largest]
    rows.append([sum(n for kind, n in s.keys.items() if kind not in largest) for s in samples])
    keys.stackplot(times, rows, labels=[*largest, "all others"])
    keys.set_ylabel("keys")
    keys.legend(fontsize=8, loc="upper right")
    for panel in (memory, keys):
        panel.set_xlabel("s: three legs, after each everything runs out")
    figure.tight_layout()
    return figure
