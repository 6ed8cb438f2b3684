"""Requests a second in a closed loop, ours compared with a bare route that does one Redis command.

Both are one server process, use the same record server, and take turns round by round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.frame.command import Say
from benchmarks.frame.load import Caller, Load, Shot, UnexpectedAnswerError, get, post, run
from benchmarks.frame.statistics import Ratio, ratio
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
    """One kind of request, and what each round gave."""

    name: str
    port: int
    shot: Shot
    baseline: str = ""
    loads: list[Load] = field(default_factory=list)

    def drive(self, seconds: float) -> None:
        """Drive one round."""
        self.loads.append(run(self.shot, self.port, seconds=seconds, connections=CONNECTIONS))

    @property
    def rates(self) -> list[float]:
        return [load.per_s for load in self.loads]

    def figures(self) -> dict[str, Any]:
        share = max(load.own_share for load in self.loads)
        return {"per_s": round(median(self.rates)), "generator_share": round(share, 2)}


def hits(services: OverheadServices) -> list[Lap]:
    """Cache hits on two endpoints, each with a GET of as many bytes. Needs a worker that answers first."""
    laps = []
    for name, path, body in (
        ("hit_hf_picture", f"/models/{ECHO.id}", hf_question()),
        ("hit_chat", CHATS, chat_question()),
    ):
        with services.records.client(2) as client:
            client.set(name, _cached_answer(services.api_port, path, body, "x-cache", "HIT"))
        bare = f"bare_get_{name.removeprefix('hit_')}"
        laps += [
            Lap(bare, services.bare_port, _same(get(f"/answers/{name}"), 200)),
            Lap(name, services.api_port, _same(post(path, body), 200), bare),
        ]
    return laps


def litellm(services: OverheadServices) -> Lap:
    """The same cached chat by LiteLLM's proxy, which asked us once. Raises NotStartedError."""
    services.start_litellm()
    _cached_answer(services.litellm_port, CHATS, chat_question(), "x-litellm-cache-key")
    return Lap(LITELLM, services.litellm_port, _same(post(CHATS, chat_question()), 200))


def submits(services: OverheadServices) -> list[Lap]:
    """Jobs that are new, each with a SET of a body of the same size. No worker may consume them meanwhile."""
    sample = SAMPLE.read_bytes()
    new, same, pictures = (
        Shot(make, 202) for make in (distinct_jobs(), distinct_jobs(sample), distinct_pictures())
    )
    text, picture = (_same(post("/records", job(QUESTION, image)), 202) for image in (None, sample))
    return [
        Lap("bare_set_text", services.bare_port, text),
        Lap("submit_text", services.api_port, new, "bare_set_text"),
        Lap("bare_set_picture", services.bare_port, picture),
        Lap("submit_same_picture", services.api_port, same, "bare_set_picture"),
        Lap("submit_new_picture", services.api_port, pictures, "bare_set_picture"),
    ]


def measure(
    services: OverheadServices, rounds: int, seconds: float, say: Say, *, with_litellm: bool = False
) -> list[Lap]:
    """Every lap once a round, in turn: the hits, then the submits. The worker for them is stopped between."""
    laps = hits(services) + ([litellm(services)] if with_litellm else [])
    _drive(laps, rounds, seconds, say)
    if with_litellm:
        services.stop("litellm")
    # The worker's facts stay in the records, so submits are admitted as if it were busy; none is consumed.
    services.stop("worker")
    new = submits(services)
    _drive(new, rounds, seconds, say)
    return laps + new


def ratios(laps: Sequence[Lap]) -> list[Ratio]:
    """Ours over the baselines, over LiteLLM's proxy if it ran."""
    rates = {lap.name: lap.rates for lap in laps}
    pairs = [(lap.name, lap.baseline, TARGETS[lap.name]) for lap in laps if lap.baseline]
    if LITELLM in rates:
        pairs.insert(0, ("hit_chat", LITELLM, OVER_LITELLM))
    return [ratio(name, bare, rates[name], rates[bare], target) for name, bare, target in pairs]


def _drive(laps: Sequence[Lap], rounds: int, seconds: float, say: Say) -> None:
    for lap in laps:
        run(lap.shot, lap.port, seconds=WARM_UP_S, connections=CONNECTIONS)
    for number in range(1, rounds + 1):
        for lap in laps:
            lap.drive(seconds)
        rates = ", ".join(f"{lap.name} {lap.loads[-1].per_s:,.0f}/s" for lap in laps)
        say(f"round {number}: {rates}")


def _cached_answer(port: int, path: str, body: bytes, header: str, value: str = "") -> bytes:
    """Ask until the answer comes from the cache, which its header says. Raises UnexpectedAnswerError."""
    caller = Caller(port)
    for _ in range(3):
        answer = caller.raw("POST", path, body)
    caller.close()
    found = caller.headers.get(header)
    if found is None or value not in found:
        raise UnexpectedAnswerError(f"{path}: not cached: {answer[:500]!r}")
    return answer


def _same(message: bytes, status: int) -> Shot:
    return Shot(lambda: message, status)
