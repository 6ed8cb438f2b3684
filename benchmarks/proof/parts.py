"""Which benchmarks prove what, and at which size."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.proof import telling
from benchmarks.proof.telling import Found


@dataclass(frozen=True)
class Part:
    """One figure. `argv` follows `python -m`, `quick` are the options that show in seconds that it works.

    `told` renders what was done from what was measured; the part writes `name`.json and .svg.
    """

    name: str
    title: str
    argv: tuple[str, ...]
    quick: tuple[str, ...]
    told: Callable[[Found], str]


PARTS = (
    Part(
        "chaos",
        "Nothing is lost, doubled or torn when processes crash",
        ("benchmarks.chaos", "--jobs", "3000"),
        ("--jobs", "150"),
        telling.chaos,
    ),
    Part(
        "cancel",
        "A cancelled job's row is free at once",
        ("benchmarks.proof.cancelling",),
        ("--samples", "10"),
        telling.cancel,
    ),
    Part(
        "eta",
        "Jobs start when estimated",
        ("benchmarks.eta", "--jobs", "2000", "--live", "100"),
        ("--jobs", "300", "--live", "0"),
        telling.eta,
    ),
    Part(
        "cache",
        "The cache never confuses two questions, and never misses the same one",
        ("benchmarks.cache",),
        ("--pairs", "2000"),
        telling.cache,
    ),
    Part(
        "fairness",
        "One caller's flood delays no one else",
        ("benchmarks.fairness",),
        (),
        telling.fairness,
    ),
    Part(
        "webhooks",
        "Every webhook is delivered, or reported as abandoned",
        ("benchmarks.webhooks", "--jobs", "600"),
        ("--jobs", "60"),
        telling.webhooks,
    ),
)
