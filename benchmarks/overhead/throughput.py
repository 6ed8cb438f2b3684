"""Requests a second in a closed loop, ours compared with a bare route that does one Redis command.

Both are one server process, use the same record server, and take turns round by round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.frame.command import Say
from benchmarks.frame.load import Caller, Load, Shot, UnexpectedAnswerError, get, post, run
from benchmarks.frame.services import free_port
from benchmarks.frame.statistics import Ratio, ratio
from benchmarks.frame.usage import Usage
from benchmarks.overhead import litellm_proxy
from benchmarks.overhead.services import (
    ECHO,
    QUESTION,
    SAMPLE,
    OverheadServices,
    chat_question,
    distinct_jobs,
    distinct_pictures,
    hf_question,
    job,
)

CONNECTIONS = 16
WARM_UP_S = 0.5
TARGETS = {
    "hit_chat": 0.28,
    "hit_hf_picture": 0.28,
    "submit_text": 0.3,
    "submit_same_picture": 0.22,
    # A new picture is also a new file, which the baseline does not write.
    "submit_new_picture": 0.15,
}
"""Shares of the baseline's rate to reach."""
LITELLM, OVER_LITELLM = "litellm_chat", 3.0
"""LiteLLM's proxy answers the same chat from its own cache: how many times its rate to reach."""
CHATS = "/v1/chat/completions"


@dataclass
class Lap:
    """One kind of request and what each round gave; `_us` are the processes' CPU times per request."""

    name: str
    process: str
    port: int
    shot: Shot
    baseline: str = ""
    loads: list[Load] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    redis_us: list[float] = field(default_factory=list)

    def drive(self, services: OverheadServices, seconds: float) -> None:
        """One round."""
        server, redis = (Usage([services[name].pid]) for name in (self.process, "redis"))
        server_s, redis_s = server.cpu_s(), redis.cpu_s()
        load = run(self.shot, self.port, seconds=seconds, connections=CONNECTIONS)
        self.loads.append(load)
        self.server_us.append((server.cpu_s() - server_s) / load.count * 1e6)
        self.redis_us.append((redis.cpu_s() - redis_s) / load.count * 1e6)

    @property
    def rates(self) -> list[float]:
        return [load.per_s for load in self.loads]

    def figures(self) -> dict[str, Any]:
        return {
            "per_s": round(median(self.rates)),
            "server_cpu_us": round(median(self.server_us)),
            "redis_cpu_us": round(median(self.redis_us)),
            "p50_ms": round(median(load.p50_ms for load in self.loads), 2),
            "p99_ms": round(median(load.p99_ms for load in self.loads), 2),
            "generator_share": round(max(load.own_share for load in self.loads), 2),
            "baseline": self.baseline or None,
        }


def hits(services: OverheadServices) -> list[Lap]:
    """Cache hits on two endpoints, each with a GET of as many bytes. Needs a worker that answers first."""
    laps = []
    for name, path, body in (
        ("hit_hf_picture", f"/models/{ECHO.id}", hf_question()),
        ("hit_chat", CHATS, chat_question()),
    ):
        with services.records.client(2) as client:
            client.set(name, _cached_answer(services, path, body))
        bare = f"bare_get_{name.removeprefix('hit_')}"
        laps += [
            Lap(bare, "bare_web", services.bare_port, _same(get(f"/answers/{name}"), 200)),
            Lap(name, "api", services.api_port, _same(post(path, body), 200), bare),
        ]
    return laps


def litellm(services: OverheadServices) -> Lap:
    """The same cached chat by LiteLLM's proxy, which asked us once. Raises NotStartedError."""
    port, body = free_port(), chat_question()
    litellm_proxy.start(services, port, services.api_port, ECHO.id, services.records.url(3))
    litellm_proxy.check_cached(port, CHATS, body)
    return Lap(LITELLM, "litellm", port, _same(post(CHATS, body), 200))


def submits(services: OverheadServices) -> list[Lap]:
    """Jobs that are new, each with a SET of a body of the same size. Nobody may consume them meanwhile."""
    sample = SAMPLE.read_bytes()
    bodies = {"text": job(QUESTION), "picture": job(QUESTION, sample)}
    messages = {
        "text": {"submit_text": distinct_jobs()},
        "picture": {"submit_same_picture": distinct_jobs(sample), "submit_new_picture": distinct_pictures()},
    }
    laps = []
    for size, body in bodies.items():
        bare = f"bare_set_{size}"
        laps.append(Lap(bare, "bare_web", services.bare_port, _same(post("/records", body), 202)))
        for name, make in messages[size].items():
            laps.append(Lap(name, "api", services.api_port, Shot(make, 202), bare))
    return laps


def measure(
    services: OverheadServices, rounds: int, seconds: float, say: Say, *, with_litellm: bool = False
) -> list[Lap]:
    """Every lap once a round, in turn: the hits, then the submits. The worker for them is stopped between."""
    laps = hits(services) + ([litellm(services)] if with_litellm else [])
    _drive(services, laps, rounds, seconds, say)
    if with_litellm:
        services.stop("litellm")
    # The worker's facts stay in the records, so submits are admitted as if it were busy; none is consumed.
    services.stop("worker")
    new = submits(services)
    _drive(services, new, rounds, seconds, say)
    return laps + new


def ratios(laps: Sequence[Lap]) -> list[Ratio]:
    rates = {lap.name: lap.rates for lap in laps}
    over_litellm = (
        [ratio("hit_chat", LITELLM, rates["hit_chat"], rates[LITELLM], OVER_LITELLM)]
        if LITELLM in rates
        else []
    )
    return over_litellm + [
        ratio(lap.name, lap.baseline, lap.rates, rates[lap.baseline], TARGETS[lap.name])
        for lap in laps
        if lap.baseline
    ]


def _drive(services: OverheadServices, laps: Sequence[Lap], rounds: int, seconds: float, say: Say) -> None:
    for lap in laps:
        run(lap.shot, lap.port, seconds=WARM_UP_S, connections=CONNECTIONS)
    for number in range(1, rounds + 1):
        for lap in laps:
            lap.drive(services, seconds)
        rates = ", ".join(f"{lap.name} {lap.loads[-1].per_s:,.0f}/s" for lap in laps)
        say(f"round {number}: {rates}")


def _cached_answer(services: OverheadServices, path: str, body: bytes) -> bytes:
    """Ask until the answer comes from the cache; the answer."""
    caller = Caller(services.api_port)
    for _ in range(2):
        answer = caller.raw("POST", path, body)
    caller.close()
    if caller.headers["x-cache"] != "HIT":
        raise UnexpectedAnswerError(f"{path}: {caller.headers['x-cache']} {answer[:500]!r}")
    return answer


def _same(message: bytes, status: int) -> Shot:
    return Shot(lambda: message, status)
