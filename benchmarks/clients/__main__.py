"""Many chat streams at once through OpenAI's Python client: two minutes.

Ours (record server, API, one worker of the echo engine) and a bare Starlette application take turns.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from benchmarks.clients.chat_client import MODEL, STEP_S
from benchmarks.frame import command, report
from benchmarks.frame.command import Say
from benchmarks.frame.report import Findings
from benchmarks.frame.services import ClientProcess, Installation, free_port, temporary_folder
from benchmarks.frame.statistics import ratio, summary
from benchmarks.frame.usage import Usage
from benchmarks.overhead.services import UVICORN

STREAMS, WORDS, ROUNDS, CLIENTS = 200, 40, 6, 2
AT_LEAST = 0.5
PROCESSES = {"ours": ("redis", "api", "worker"), "bare": ("bare",)}
MODELS = '[[models]]\nid = "{id}"\nengine = "echo"\nrows = {rows}\noptions = {{ step_s = {step_s} }}\n'


@dataclass(frozen=True)
class Lap:
    """All streams of one turn of one side.

    `cpu_s` is the processor time of all the server's processes, `client_share` the busiest client process's
    use of a core.
    """

    events: int
    per_s: float
    first_ms: list[float]
    client_share: float
    cpu_s: float


def measure(arguments: argparse.Namespace, say: Say) -> Findings:
    with _services(arguments.streams) as (services, urls), ExitStack() as stack:
        clients = [
            stack.enter_context(ClientProcess("benchmarks.clients.chat_client"))
            for _ in range(arguments.clients)
        ]
        for client in clients:
            client.receive()
        say("everything serves")
        laps = _laps(services, urls, clients, arguments, say)
    figures: dict[str, Any] = {
        **{name: getattr(arguments, name) for name in ("streams", "words", "rounds", "clients")},
        "step_s": STEP_S,
        **{side: _figures(some, arguments.streams) for side, some in laps.items()},
    }
    ours, bare = ([lap.per_s for lap in laps[side]] for side in ("ours", "bare"))
    ratios = [ratio("events_per_s", "bare_events_per_s", ours, bare, AT_LEAST)]
    return Findings(figures, _picture(laps, arguments.streams), (), ratios, _summary(figures))


@contextmanager
def _services(rows: int) -> Iterator[tuple[Installation, dict[str, str]]]:
    """Everything that serves, and where each side listens."""
    ports = {"ours": free_port(), "bare": free_port()}
    urls = {side: f"http://127.0.0.1:{port}" for side, port in ports.items()}
    with temporary_folder() as folder:
        services = Installation(folder, MODELS.format(id=MODEL, rows=rows, step_s=STEP_S))
        try:
            services.add(services.records)
            services.worker()
            services.api(ports["ours"])
            bare = ("benchmarks.clients.chat_server:app", "--port", str(ports["bare"]), *UVICORN)
            services.run("bare", sys.executable, "-m", "uvicorn", *bare)
            services.wait_until(f"{urls['ours']}/models/{MODEL}/health")
            services.wait_until(f"{urls['bare']}/ready")
            yield services, urls
        finally:
            services.stop_all()


def _laps(
    services: Installation,
    urls: Mapping[str, str],
    clients: Sequence[ClientProcess],
    arguments: argparse.Namespace,
    say: Say,
) -> dict[str, list[Lap]]:
    """The sides take turns; the first turn of each is not counted, connections and caches are cold then."""
    usages = {side: Usage([services[name].pid for name in names]) for side, names in PROCESSES.items()}
    laps: dict[str, list[Lap]] = {side: [] for side in PROCESSES}
    for number in range(arguments.rounds + 1):
        for side, usage in usages.items():
            turn = {"url": urls[side], "name": f"{side}-{number}", "words": arguments.words}
            lap = _lap(clients, turn, arguments.streams, usage)
            if number:
                laps[side].append(lap)
            say(f"round {number}, {side}: {lap.per_s:,.0f} events/s")
    return laps


def _lap(clients: Sequence[ClientProcess], turn: Mapping[str, Any], streams: int, usage: Usage) -> Lap:
    """`streams` at once, shared between the client processes."""
    before, count = usage.cpu_s(), len(clients)
    for at, client in enumerate(clients):
        share = streams // count + (at < streams % count)
        client.send(json.dumps({**turn, "name": f"{turn['name']}-{at}", "streams": share}))
    turns = [json.loads(client.receive()) for client in clients]
    took_s = max(one["ended"] for one in turns) - min(one["began"] for one in turns)
    events = sum(one["events"] for one in turns)
    return Lap(
        events=events,
        per_s=events / took_s,
        first_ms=[ms for one in turns for ms in one["first_ms"]],
        client_share=max(one["cpu_s"] / (one["ended"] - one["began"]) for one in turns),
        cpu_s=usage.cpu_s() - before,
    )


def _figures(laps: Sequence[Lap], streams: int) -> dict[str, Any]:
    events, cpu_s = sum(lap.events for lap in laps), sum(lap.cpu_s for lap in laps)
    return {
        "events_per_s": round(mean(lap.per_s for lap in laps), 1),
        "events_per_s_rounds": [round(lap.per_s, 1) for lap in laps],
        "events_per_stream": round(events / streams / len(laps), 2),
        "server_cpu_ms_per_stream": round(1000 * cpu_s / streams / len(laps), 2),
        "server_cpu_us_per_event": round(1e6 * cpu_s / events, 1),
        "first_event_ms": summary([ms for lap in laps for ms in lap.first_ms]),
        "client_share": round(max(lap.client_share for lap in laps), 2),
    }


def _summary(figures: Mapping[str, Any]) -> str:
    lines = [f"{'':28}{'ours':>12}{'bare':>12}"]
    for name in ("events_per_s", "server_cpu_ms_per_stream", "server_cpu_us_per_event", "client_share"):
        lines.append(f"{name:28}{figures['ours'][name]:12,.2f}{figures['bare'][name]:12,.2f}")
    for share in ("p50", "p99"):
        ours, bare = (figures[side]["first_event_ms"][share] for side in ("ours", "bare"))
        lines.append(f"{f'first event, ms, {share}':28}{ours:12,.2f}{bare:12,.2f}")
    return "\n".join(lines)


def _picture(laps: Mapping[str, Sequence[Lap]], streams: int) -> Figure:
    figure, (left, right) = report.figure(2)
    for side, some in laps.items():
        left.plot(range(1, len(some) + 1), [lap.per_s for lap in some], "o-", label=side)
        report.shares(right, [ms for lap in some for ms in lap.first_ms], side)
    left.set_ylim(bottom=0)
    left.set_xlabel("round")
    left.set_ylabel(f"events/s of {streams} streams")
    left.legend()
    right.set_xlabel("from asking until the first text, ms")
    right.set_ylabel("share of the streams")
    right.legend()
    return figure


if __name__ == "__main__":
    sys.exit(
        command.main(
            "clients",
            __doc__,
            measure,
            streams=(STREAMS, "streams at once"),
            words=(WORDS, "words of an answer, each an event"),
            rounds=(ROUNDS, "turns of each side"),
            clients=(CLIENTS, "client processes"),
        )
    )
