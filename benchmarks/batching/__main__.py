"""How many tokens a second do many callers get from our service and from other servers? Under an hour.

Each server serves the same model (random weights, 107 million parameters) alone, with one thread and with
the whole machine. Then vLLM's own server and our service with its engine both run and are asked by turns.
`--vllm PYTHON` names the Python of an environment with vLLM; without it vLLM's parts are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.batching.driver import WrongAnswerError, drive, point
from benchmarks.batching.servers import ONE_BY_ONE, ONE_PROCESS, SYSTEMS, VLLM, Part, Serving, serving
from benchmarks.frame import command, report
from benchmarks.frame.services import NotStartedError
from benchmarks.frame.statistics import Bound, ratio

CORES = (1, 2)
TURNS_TARGET, ALONE_TARGET, FIRST_TEXT_MS = 0.99, 0.97, 30.0
"""Share of vLLM's own server's tokens/s behind our service, with many callers and with one; and what our
service may add to its first text."""
SHOWN = ("continuous", "serve", "vllm", "vllm_engine", "wide")
"""Systems in the picture; `sequential` lies where `serve` does."""
COLORS = dict(zip(SHOWN, report.SERIES, strict=True))
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How thoroughly a part is measured.

    A number of clients is measured until all is answered, or until the first complete answer after
    `one_by_one_s` seconds if the server computes one answer after the other, otherwise `together_s`.
    """

    one_by_one_s: float
    together_s: float
    clients: tuple[int, ...]
    longest: int
    laps: int


FULL = Size(15, 60, (1, 16, 32), longest=128, laps=5)
QUICK = Size(2, 10, (1, 4), longest=24, laps=1)


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    size, vllm = QUICK if arguments.quick else FULL, Path(arguments.vllm)
    wanted = arguments.systems.split(",") if arguments.systems else [*SYSTEMS]
    systems = [name for name in wanted if name not in VLLM or arguments.vllm]
    figures: dict[str, Any] = {"parts": [], "overheads": []}
    for cores in CORES:
        for system in systems:
            if system not in ONE_PROCESS or cores == max(CORES):
                figures["parts"].append(measure_part(Part(system, cores), size, vllm, say))
    if set(VLLM) <= {*systems}:
        figures["overheads"] = [*by_turns(size, vllm, say)]
    return report.Findings(figures, picture(figures), [*bounds(figures)])


def measure_part(part: Part, size: Size, vllm: Path, say: command.Say) -> Row:
    """Return the part's points by callers; a server that fails has a point less, and says why."""
    row: Row = {"system": part.system, "cores": part.cores, "points": {}}
    try:
        with serving(part, vllm) as server:
            for clients in size.clients:
                numbers = range(1000 * clients, 1000 * clients + min(max(2 * clients, 4), 48))
                row["points"][str(clients)] = figures = ask(server, part, size, numbers, clients)
                say(f"{part.system}, {part.cores} cores, {clients}: {figures['tokens_per_s']} tokens/s")
    except (NotStartedError, WrongAnswerError) as error:
        row["failed"] = str(error)[-1500:]
        say(f"{part.system}: {row['failed']}")
    return row


def ask(server: Serving, part: Part, size: Size, numbers: Sequence[int], clients: int) -> Row:
    """Return the figures of answers to the questions of these numbers. Raises WrongAnswerError."""
    longest = min(part.longest, size.longest)
    seconds = size.one_by_one_s if part.system in ONE_BY_ONE else size.together_s
    before = server.usage.cpu_s()
    driven = drive(server.port, server.messages(numbers, longest), clients=clients, seconds=seconds)
    figures = point(driven, cpu_s=server.usage.cpu_s() - before, rss_mb=server.usage.rss_mb())
    server.usage.wait_for_rest()
    for one in driven.answers:
        if one.ended is not None and one.tokens != longest:
            raise WrongAnswerError(f"{one.tokens} tokens: {json.dumps(one.text[:200])}")
    return figures


def by_turns(size: Size, vllm: Path, say: command.Say) -> Iterator[Row]:
    """Ask both sides the same new questions in each lap; the first lap is not counted."""
    parts = {system: Part(system, max(CORES)) for system in VLLM}
    numbers = count(500_000)
    with ExitStack() as stack:
        servers = {system: stack.enter_context(serving(part, vllm)) for system, part in parts.items()}
        for clients in size.clients:
            points: dict[str, list[Row]] = {system: [] for system in VLLM}
            for lap in range(size.laps + 1):
                asked = [next(numbers) for _ in range(min(max(2 * clients, 4), 48))]
                for system in sorted(VLLM, reverse=lap % 2 == 0):
                    figures = ask(servers[system], parts[system], size, asked, clients)
                    points[system] += [figures] if lap else []
            names = ("tokens_per_s", "ttft_p50_ms", "ttft_p99_ms")
            sides = {system: {n: [one[n] for one in some] for n in names} for system, some in points.items()}
            say(f"by turns, {clients} callers: {json.dumps(sides)}")
            yield {"clients": clients, **sides}


def bounds(figures: Mapping[str, Any]) -> Iterator[Bound]:
    yield Bound("parts that failed", sum("failed" in row for row in figures["parts"]), 0, "parts")
    for row in figures["overheads"]:
        own, ours = (row[system] for system in VLLM)
        case, alone = f"engine vllm, callers: {row['clients']}", row["clients"] == 1
        speed = ratio("", "", ours["tokens_per_s"], own["tokens_per_s"]).value
        yield Bound(case, speed, ALONE_TARGET if alone else TURNS_TARGET, "", at_least=True)
        pairs = zip(ours["ttft_p50_ms"], own["ttft_p50_ms"], strict=True)
        later = round(median(mine - theirs for mine, theirs in pairs), 1)
        yield Bound(f"{case}: first text later", later, FIRST_TEXT_MS, "ms")


def picture(figures: Mapping[str, Any]) -> Figure:
    """Draw tokens a second of the whole machine, and vLLM behind our service over its own server."""
    figure, (left, right) = report.figure(2, (12, 4.5))
    for row in figures["parts"]:
        if row["cores"] == max(CORES) and row["system"] in SHOWN and row["points"]:
            rates = [(at["clients"], at["tokens_per_s"]) for at in row["points"].values()]
            style = {"color": COLORS[row["system"]], "label": SYSTEMS[row["system"]].replace("`", "")}
            left.plot(*zip(*rates, strict=True), marker="o", **style)
    left.set_ylim(bottom=0)
    report.label(left, "callers at once", f"tokens/s, {max(CORES)} cores", log=True)
    for row in figures["overheads"]:
        own, ours = (row[system]["tokens_per_s"] for system in VLLM)
        pairs = [mine / theirs for mine, theirs in zip(ours, own, strict=True)]
        right.plot([row["clients"]] * len(pairs), pairs, "o", color=COLORS["vllm_engine"])
    right.axhline(1, color=report.GRAY, linewidth=1)
    right.set_xlabel("callers at once")
    right.set_ylabel("tokens/s: engine vllm behind our service, over its own server")
    return figure


if __name__ == "__main__":
    command.main(
        "batching",
        __doc__,
        measure,
        systems=("", f"only these of {', '.join(SYSTEMS)}, with commas between"),
        vllm=("", "the Python of an environment that has vLLM"),
        quick=(0, "1 = every part for seconds"),
    )
