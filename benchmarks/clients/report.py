"""What a run came to: figures, the ratio and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.clients.callers import Seen
from benchmarks.overhead.report import Ratio, ratio, summary

AT_LEAST = 0.5


@dataclass(frozen=True)
class Lap:
    """One turn of one side; `cpu_s` is the processor time of all its server's processes."""

    seen: Seen
    cpu_s: float


def figures(laps: Mapping[str, Sequence[Lap]], streams: int) -> dict[str, Any]:
    return {side: _figures(found, streams) for side, found in laps.items()}


def _figures(laps: Sequence[Lap], streams: int) -> dict[str, Any]:
    events = sum(lap.seen.events for lap in laps)
    spent_s = sum(lap.cpu_s for lap in laps)
    return {
        "events_per_s": round(mean(lap.seen.per_s for lap in laps), 1),
        "events_per_s_rounds": [round(lap.seen.per_s, 1) for lap in laps],
        "events_per_stream": round(events / streams / len(laps), 2),
        "server_cpu_ms_per_stream": round(1000 * spent_s / streams / len(laps), 2),
        "server_cpu_us_per_event": round(1e6 * spent_s / events, 1),
        "first_event_ms": summary([ms for lap in laps for ms in lap.seen.first_ms]),
        "client_share": round(max(lap.seen.client_share for lap in laps), 2),
    }


def ratios(laps: Mapping[str, Sequence[Lap]]) -> list[Ratio]:
    ours, bare = ([lap.seen.per_s for lap in laps[side]] for side in ("ours", "bare"))
    return [ratio("events_per_s", "bare_events_per_s", ours, bare, AT_LEAST)]


def table(measured: Mapping[str, Any], found: Sequence[Ratio]) -> str:
    """What a person reads first."""
    lines = [f"{'':28}{'ours':>12}{'bare':>12}"]
    for name in ("events_per_s", "server_cpu_ms_per_stream", "server_cpu_us_per_event", "client_share"):
        lines.append(f"{name:28}{measured['ours'][name]:12,.2f}{measured['bare'][name]:12,.2f}")
    for share in ("p50", "p99"):
        ours, bare = (measured[side]["first_event_ms"][share] for side in ("ours", "bare"))
        lines.append(f"{f'first event, ms, {share}':28}{ours:12,.2f}{bare:12,.2f}")
    return "\n".join(
        [*lines, *(f"{r.name} over {r.baseline}: {r.value:.2f} (>= {r.at_least})" for r in found)]
    )


def listed(found: Sequence[Ratio]) -> list[dict[str, Any]]:
    return [asdict(r) for r in found]


def drawn(measured: Mapping[str, Any], laps: Mapping[str, Sequence[Lap]]) -> Figure:
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for side, found in laps.items():
        left.plot(range(1, len(found) + 1), [lap.seen.per_s for lap in found], "o-", label=side)
        waits = sorted(ms for lap in found for ms in lap.seen.first_ms)
        right.plot(waits, [(at + 1) / len(waits) for at in range(len(waits))], label=side)
    left.set_ylim(bottom=0)
    left.set_xlabel("round")
    left.set_ylabel(f"events/s of {measured['streams']} streams")
    left.legend()
    right.set_xlabel("from asking until the first text, ms")
    right.set_ylabel("share of the streams")
    right.legend()
    figure.tight_layout()
    return figure
