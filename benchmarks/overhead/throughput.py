"""Requests a second in a closed loop, ours compared with a bare route that does one Redis command.

Both are one server process, use the same record server, and take turns round by round.
"""

from collections.abc import Mapping
from contextlib import closing

from benchmarks.frame.command import Say
from benchmarks.frame.load import Caller, Shot, UnexpectedAnswerError, get, post, run
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
LITELLM = "litellm_chat"
"""LiteLLM's proxy answers the same chat from its own cache."""
PAIRS = (
    ("hit_chat", LITELLM, 3.0),
    ("hit_hf_picture", "bare_get_hf_picture", 0.28),
    ("hit_chat", "bare_get_chat", 0.28),
    ("submit_text", "bare_set_text", 0.3),
    ("submit_same_picture", "bare_set_picture", 0.22),
    # A new picture is also a new file, which the baseline does not write.
    ("submit_new_picture", "bare_set_picture", 0.15),
)
"""Ours, its baseline, and how many times the baseline's rate it is to reach."""
CHATS = "/v1/chat/completions"
Laps = dict[str, tuple[int, Shot]]
"""Kinds of requests by name: the port that they go to, and what to send."""
Rates = dict[str, list[float]]


def hits(services: OverheadServices) -> Laps:
    """Cache hits on two endpoints, each with a GET of as many bytes. Needs a worker that answers first."""
    laps: Laps = {}
    for name, path, body in (
        ("hf_picture", f"/models/{ECHO}", hf_question()),
        ("chat", CHATS, chat_question()),
    ):
        with services.records.client(2) as client:
            client.set(name, _cached_answer(services.api_port, path, body, "x-cache", "HIT"))
        laps[f"bare_get_{name}"] = services.bare_port, _same(get(f"/answers/{name}"), 200)
        laps[f"hit_{name}"] = services.api_port, _same(post(path, body), 200)
    return laps


def litellm(services: OverheadServices) -> Laps:
    """The same cached chat by LiteLLM's proxy, which asked us once. Raises NotStartedError."""
    services.start_litellm()
    _cached_answer(services.litellm_port, CHATS, chat_question(), "x-litellm-cache-key")
    return {LITELLM: (services.litellm_port, _same(post(CHATS, chat_question()), 200))}


def submits(services: OverheadServices) -> Laps:
    """Jobs that are new, each with a SET of a body of the same size. No worker may consume them meanwhile."""
    sample, bare, api = SAMPLE.read_bytes(), services.bare_port, services.api_port
    return {
        "bare_set_text": (bare, _same(post("/records", job(QUESTION)), 202)),
        "submit_text": (api, Shot(distinct_jobs(), 202)),
        "bare_set_picture": (bare, _same(post("/records", job(QUESTION, sample)), 202)),
        "submit_same_picture": (api, Shot(distinct_jobs(sample), 202)),
        "submit_new_picture": (api, Shot(distinct_pictures(), 202)),
    }


def measure(
    services: OverheadServices, rounds: int, seconds: float, say: Say, *, with_litellm: bool = False
) -> Rates:
    """Drive every lap once a round, in turn: the hits, then the submits, without a worker for them."""
    rates: Rates = {}
    _drive(hits(services) | (litellm(services) if with_litellm else {}), rates, rounds, seconds, say)
    if with_litellm:
        services.stop("litellm")
    # The worker's facts stay in the records, so submits are admitted as if it were busy; none is consumed.
    services.stop("worker")
    _drive(submits(services), rates, rounds, seconds, say)
    return rates


def ratios(rates: Mapping[str, list[float]]) -> list[Ratio]:
    """Return ours over the baselines that ran."""
    pairs = [pair for pair in PAIRS if pair[1] in rates]
    return [ratio(name, bare, rates[name], rates[bare], target) for name, bare, target in pairs]


def _drive(laps: Laps, rates: Rates, rounds: int, seconds: float, say: Say) -> None:
    for port, shot in laps.values():
        run(shot, port, seconds=WARM_UP_S, connections=CONNECTIONS)
    for number in range(1, rounds + 1):
        for name, (port, shot) in laps.items():
            load = run(shot, port, seconds=seconds, connections=CONNECTIONS)
            rates.setdefault(name, []).append(load.per_s)
        say(f"round {number}: {', '.join(f'{name} {rates[name][-1]:,.0f}/s' for name in laps)}")


def _cached_answer(port: int, path: str, body: bytes, header: str, value: str = "") -> bytes:
    """Ask until the answer comes from the cache, which its header says. Raises UnexpectedAnswerError."""
    with closing(Caller(port)) as caller:
        for _ in range(3):
            answer = caller.raw("POST", path, body)
    origin = caller.headers.get(header)
    if origin is None or value not in origin:
        raise UnexpectedAnswerError(f"{path}: not cached: {answer[:500]!r}")
    return answer


def _same(message: bytes, status: int) -> Shot:
    return Shot(lambda: message, status)
