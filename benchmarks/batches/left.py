"""What ended batches should not leave in the record store."""

from collections.abc import Sequence
from typing import Any

from benchmarks.batches.lines import MODEL

LANE = f"model.{MODEL.replace('/', '--')}"
SETS = ("batching", "batching:local", f"queue:{LANE}", "lease", "deadlines", "schedule")
"""Where what is under way stands."""
PARTS = ("lines", "answers", "doubles", "good", "bad")
"""Of a batch; what its end told is kept as any other's."""


def left_over(redis: Any, batches: Sequence[str]) -> dict[str, int]:
    """Entries by where they stand, those of nothing left out; `redis` is a client that decodes."""
    found = {name: int(redis.zcard(f"sl2:{name}")) for name in SETS}
    found["taken"] = sum(int(redis.scard(key)) for key in redis.keys("sl2:taken:*"))
    for part in PARTS:
        found[part] = int(redis.exists(*(f"sl2:{batch}:{part}" for batch in batches)))
    return {name: count for name, count in found.items() if count}
