"""Requests a second in a closed loop, ours beside a bare route that does one Redis command.

Both are one uvicorn process with the same options, use the same record server, and take turns round by round.
"""

import http.client
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from benchmarks.overhead import questions
from benchmarks.overhead.load import Load, Shot, UnexpectedAnswerError, run
from benchmarks.overhead.site import Site

CONNECTIONS = 16
WARM_UP_S = 0.5
TARGET = 0.4
"""Share of the baseline's rate to reach."""


@dataclass
class Lap:
    """One kind of request and what each round gave; `_us` are the processes' CPU times per request."""

    name: str
    process: str
    port: int
    shot: Shot
    baseline: str = ""
    at_least: float | None = TARGET
    loads: list[Load] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    redis_us: list[float] = field(default_factory=list)

    def drive(self, site: Site, seconds: float) -> None:
        """One round."""
        watched = [psutil.Process(site.processes[name].pid) for name in (self.process, "redis")]
        before = [_cpu_s(process) for process in watched]
        load = run(self.shot, self.port, seconds=seconds, connections=CONNECTIONS)
        server, redis = (
            (_cpu_s(process) - was) / load.count * 1e6 for process, was in zip(watched, before, strict=True)
        )
        self.loads.append(load)
        self.server_us.append(server)
        self.redis_us.append(redis)


def hits(site: Site) -> list[Lap]:
    """Cache hits on two doors, each beside a GET of as many bytes. Needs a worker that answers first."""
    laps = []
    for name, path, body in (
        ("hit_hf_picture", f"/models/{questions.MODEL}", questions.hf_question()),
        ("hit_chat", "/v1/chat/completions", questions.chat_question()),
    ):
        site.records.client(2).set(name, _primed(site, path, body))
        bare = f"bare_get_{name.removeprefix('hit_')}"
        laps += [
            Lap(bare, "bare_web", site.bare_port, _same(questions.get(f"/answers/{name}"), 200)),
            Lap(name, "api", site.api_port, _same(questions.post(path, body), 200), bare),
        ]
    return laps


def submits(site: Site) -> list[Lap]:
    """Jobs that are new, each beside a SET of a body of the same size. Nobody may consume them meanwhile."""
    sample = questions.SAMPLE.read_bytes()
    stored = {"text": questions.job(questions.ASKED), "picture": questions.job(questions.ASKED, sample)}
    sent = {
        "text": {"submit_text": questions.distinct_jobs()},
        "picture": {
            "submit_same_picture": questions.distinct_jobs(sample),
            "submit_new_picture": questions.distinct_pictures(),
        },
    }
    laps = []
    for size, body in stored.items():
        bare = f"bare_set_{size}"
        laps.append(Lap(bare, "bare_web", site.bare_port, _same(questions.post("/records", body), 202)))
        for name, make in sent[size].items():
            # A new picture is also a new file, which the baseline does not write.
            at_least = None if name == "submit_new_picture" else TARGET
            laps.append(Lap(name, "api", site.api_port, Shot(make, 202), bare, at_least))
    return laps


def measure(site: Site, laps: list[Lap], *, rounds: int, seconds: float, say: Callable[[str], None]) -> None:
    """Drive every lap once a round, in turn."""
    for lap in laps:
        run(lap.shot, lap.port, seconds=WARM_UP_S, connections=CONNECTIONS)
    for number in range(1, rounds + 1):
        for lap in laps:
            lap.drive(site, seconds)
        rates = ", ".join(f"{lap.name} {lap.loads[-1].per_s:,.0f}/s" for lap in laps)
        say(f"round {number}: {rates}")


def _primed(site: Site, path: str, body: bytes) -> bytes:
    """Ask until the answer comes from the cache; the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", site.api_port, timeout=30)
    for _ in range(2):
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    if response.status != 200 or response.headers["x-cache"] != "HIT":
        raise UnexpectedAnswerError(
            f"{path}: {response.status} {response.headers['x-cache']} {answer[:500]!r}"
        )
    connection.close()
    return answer


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _same(message: bytes, status: int) -> Shot:
    return Shot(lambda: message, status)
