"""What the record store holds: bytes, and keys by kind."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from shared.store.keys import PREFIX

_WORK = re.compile(r"^(job|run)_[0-9a-f]+(:.+)?$")
LASTING = frozenset({"arrivals", "lanes", "lane", "prints", "watched"})
"""Keys that outlive every job: a counter, the known lanes, what was measured of each (a month), the
fingerprints seen (a day), and when maintenance looked last (an hour)."""
COLLECTIONS = {"zcard": ("deadlines", "schedule", "lease"), "scard": ("lanes",)}


@dataclass(frozen=True)
class Sample:
    """`members` counts what stands in lists that jobs enter; `jobs` are those of all callers together."""

    at_s: float
    submitted: int
    used_bytes: int
    keys: dict[str, int]
    members: dict[str, int]


def kind(key: str) -> str:
    """`run:events` for `sl2:run_0123:events`, `cache` for `sl2:cache:…`."""
    name = key.removeprefix(PREFIX)
    work = _WORK.match(name)
    return work[1] + (work[2] or "") if work else name.partition(":")[0]


def take(redis: Any, at_s: float, submitted: int) -> Sample:
    """A look at every key."""
    names = list(redis.scan_iter(match=f"{PREFIX}*", count=2000))
    pipe = redis.pipeline(transaction=False)
    lists = [name for name in names if kind(name) == "jobs"]
    for name in lists:
        pipe.zcard(name)
    for command, keys in COLLECTIONS.items():
        for key in keys:
            getattr(pipe, command)(PREFIX + key)
    counts = pipe.execute()
    members = {"jobs": sum(counts[: len(lists)])}
    members |= dict(
        zip((k for keys in COLLECTIONS.values() for k in keys), counts[len(lists) :], strict=True)
    )
    keys_by_kind = Counter(map(kind, names))
    used = int(redis.info("memory")["used_memory"])
    return Sample(round(at_s, 1), submitted, used, dict(sorted(keys_by_kind.items())), members)


def left_over(sample: Sample) -> dict[str, int]:
    """Keys that are neither lasting nor a living worker's."""
    return {kind: count for kind, count in sample.keys.items() if kind not in LASTING and kind != "ready"}


def keys_of_a_job(samples: Sequence[Sample], job_s: float, legs: int) -> list[float]:
    """Keys under load over the jobs submitted within `job_s` before, the median of each leg.

    The ratio does not depend on the pace, which a busy machine cannot hold. Claims live longer and do not
    count. 0 where a leg was too short.
    """
    last = samples[-1].submitted
    found: list[list[float]] = [[] for _ in range(legs)]
    for at, sample in enumerate(samples):
        before = next((s for s in reversed(samples[:at]) if sample.at_s - s.at_s >= job_s), None)
        recent = sample.submitted - before.submitted if before else 0
        loaded = at and sample.submitted > samples[at - 1].submitted
        if before and loaded and before.submitted * legs // last == sample.submitted * legs // last:
            keys = sum(sample.keys.values()) - sample.keys.get("claim", 0)
            pace = recent / (sample.at_s - before.at_s)
            found[sample.submitted * legs // last].append(keys / (pace * job_s))
    return [median(values or [0.0]) for values in found]
