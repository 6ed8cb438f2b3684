"""The names of things in Redis. Scripts build their keys from the prefix; see the header of each."""

import hashlib
from collections.abc import Mapping

LAYOUT = 9
"""Of the records: two releases that differ in it do not read each other's."""
PREFIX = f"sl{LAYOUT}:"

INTAKE = "intake"
"""The lane of jobs whose remote pictures are to be fetched; also the courier's Celery queue."""
BATCH = "batch"
"""The lane of batches, whose turns API processes take. It is no queue of the broker: the processes poll."""


def channel(name: str) -> str:
    """The channel that says that a job, run or worker changed, with a run's text."""
    return f"{PREFIX}wake:{name}"


def digests(metadata: Mapping[str, str]) -> list[str]:
    """A digest for each pair of metadata, different from every other pair's: it names a list of jobs."""
    return [
        hashlib.sha256(f"{len(name)} {name}{value}".encode()).hexdigest()[:32]
        for name, value in metadata.items()
    ]
