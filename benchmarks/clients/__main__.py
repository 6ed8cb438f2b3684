"""`python -m benchmarks.clients`: two minutes later a table, results/clients.json and clients.svg.

Exits with 1 where the target was missed.
"""

import signal
import sys
from typing import Any

from benchmarks import findings
from benchmarks.clients import callers, report, site
from benchmarks.clients.questions import STEP_S

STREAMS, WORDS, ROUNDS, CLIENTS = 200, 40, 6, 2
SIDES = {"ours": ("api", site.OURS), "bare": ("bare", site.BARE)}


def main() -> int:
    said = findings.arguments(
        "clients",
        __doc__ or "",
        streams=(STREAMS, "streams at once"),
        words=(WORDS, "words of an answer, each an event"),
        rounds=(ROUNDS, "turns of each side"),
        clients=(CLIENTS, "client processes"),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = findings.telling()
    with site.opened(said.streams) as opened, callers.opened(said.clients) as asking:
        say("everything serves")
        with opened.records.client() as client:
            measured: dict[str, Any] = findings.origin(client)
        laps = _laps(opened, asking, said, say)
    measured |= {name: getattr(said, name) for name in ("streams", "words", "rounds", "clients")}
    measured |= {"step_s": STEP_S, **report.figures(laps, said.streams)}
    found = report.ratios(laps)
    print(report.table(measured, found))
    whole = measured | {"ratios": report.listed(found), "limits": []}
    for path in findings.write(said.out, "clients", whole, report.drawn(measured, laps)):
        say(f"wrote {path.name}")
    return 0 if all(r.met for r in found) else 1


def _laps(opened: site.Site, asking: callers.Callers, said: Any, say: Any) -> dict[str, list[report.Lap]]:
    """The sides take turns; the first turn of each is not counted, connections and caches are cold then."""
    laps: dict[str, list[report.Lap]] = {side: [] for side in SIDES}
    for number in range(said.rounds + 1):
        for side, (name, processes) in SIDES.items():
            spent = opened.cpu_s(processes)
            seen = asking.turn(opened.url(name), f"{side}-{number}", said.streams, said.words)
            if number:
                laps[side].append(report.Lap(seen, opened.cpu_s(processes) - spent))
            say(f"round {number}, {side}: {seen.per_s:,.0f} events/s")
    return laps


if __name__ == "__main__":
    sys.exit(main())
