"""Computes figures from what callers saw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.batching.driver import Drive, Told


@dataclass(frozen=True)
class Quantile:
    """`at_least` where the measurement ended before enough values were known."""

    ms: float
    at_least: bool = False

    def written(self, name: str) -> dict[str, Any]:
        return {name: round(self.ms, 1)} | ({f"{name}_at_least": True} if self.at_least else {})


def point(drive: Drive, *, cpu_s: float, rss_mb: float, exactly: int | None) -> dict[str, Any]:
    """One number of clients; `exactly` is the length of every answer, where it is known, in tokens."""
    tokens, requests = counted(drive.told, exactly)
    gaps = sorted(gap for told in drive.told for gap in _gaps(told))
    return {
        "clients": drive.clients,
        "asked": len(drive.told),
        "answered": sum(told.ended is not None for told in drive.told),
        "wall_s": round(drive.wall_s, 2),
        "tokens_per_s": round(tokens / drive.wall_s, 1),
        "tokens_per_cpu_s": round(tokens / cpu_s, 1),
        "requests_per_s": round(requests / drive.wall_s, 3),
        "cores_used": round(cpu_s / drive.wall_s, 2),
        **first_text(drive.told, drive.wall_s),
        **{f"gap_p{share:.0f}_ms": _share(gaps, share) for share in (50, 99)},
        "rss_mb": round(rss_mb),
        "driver_share": round(drive.own_s / drive.wall_s, 3),
    }


def counted(told: Sequence[Told], exactly: int | None) -> tuple[float, float]:
    """Tokens and requests. A cut-off answer counts by its words: a token each where `exactly` is known, at
    least a token each elsewhere."""
    whole = [one for one in told if one.ended is not None]
    words = sum(len(one.text.split()) for one in told if one.ended is None)
    parts = words / exactly if exactly else 0
    return sum(one.tokens for one in whole) + words, len(whole) + parts


def first_text(told: Sequence[Told], wall_s: float) -> dict[str, Any]:
    """Time from asking to the first text: p50 and p99."""
    over = min(one.sent for one in told) + wall_s
    came = [one.wait_s for one in told if not math.isnan(one.wait_s)]
    missing = [over - one.sent for one in told if math.isnan(one.wait_s)]
    half, most = (quantile(came, missing, share) for share in (0.5, 0.99))
    return half.written("ttft_p50_ms") | most.written("ttft_p99_ms")


def quantile(came: Sequence[float], missing: Sequence[float], share: float) -> Quantile:
    """A quantile of seconds, of which the `missing` are only known to be longer (Kaplan and Meier 1958).

    Leaving those out would favour a server that answers few and lets the others wait.
    """
    left, waiting = 1.0, len(came) + len(missing)
    for seconds, has_come in sorted([(t, True) for t in came] + [(t, False) for t in missing]):
        if has_come:
            left *= 1 - 1 / waiting
            if left <= 1 - share + 1e-9:
                return Quantile(seconds * 1e3)
        waiting -= 1
    return Quantile(max([*came, *missing], default=0.0) * 1e3, at_least=True)


def _gaps(told: Told) -> list[float]:
    return [after - before for before, after in pairwise(told.arrivals)]


def _share(ordered: Sequence[float], share: int) -> float | None:
    """A percentile in ms; None where no answer had two pieces."""
    return round(ordered[min(len(ordered) * share // 100, len(ordered) - 1)] * 1e3, 2) if ordered else None
