"""What ended batches should not leave in the record store."""

from collections.abc import Sequence
from typing import Any

from benchmarks.batches.lines import MODEL

LANE = f"model.{MODEL.replace('/', '--')}"
SETS = ("batching", "batching:local", f"queue:{LANE}", "lease", "deadlines", "schedule")
"""The keys where work that is under way stands."""
PARTS = ("lines", "answers", "doubles", "good", "bad")
"""Keys of one batch that go at its end; the notice of its end is kept like any other."""


def left_over(redis: Any, batches: Sequence[str]) -> dict[str, int]:
    """Entries by key, empty ones left out; `redis` is a client that decodes."""
    found = {name: int(redis.zcard(f"sl2:{name}")) for name in SETS}
    found["taken"] = sum(int(redis.scard(key)) for key in redis.keys("sl2:taken:*"))
    for part in PARTS:
        found[part] = int(redis.exists(*(f"sl2:{batch}:{part}" for batch in batches)))
    return {name: count for name, count in found.items() if count}
