"""Eight models on a node with room for two of them: synchronous calls that wait for their model."""

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.catalogue.simulated import SEED, zipf
from benchmarks.frame.load import Caller
from benchmarks.frame.services import TINY, NodeInstallation, opened
from benchmarks.frame.statistics import percentiles

NAMES = tuple(f"tiny-{number}" for number in range(8))
ROW = f"""
source = "{TINY}"
engine = "auto"
dtype = "float32"
max_new_tokens = 8
memory_mb = 290
"""
ENVIRONMENT = {"SIGHTLINE_NODE__MEMORY_MB": "600"}
"""A worker is measured at 180 MB when it has loaded, at 265 once it has answered."""
PAUSE_S = 4.0
"""Between calls that come alone: by then who leaves has stood for as long as it must, and idles."""
LASTS_S, PER_S = 60.0, 1.0
BURST, BURST_AT_S = 15, 30.0
LIMIT_S = 180
LOOK_S = 0.2
Answers = dict[str, list[float]]


class Catalogue(NodeInstallation):
    def __init__(self, folder: Path) -> None:
        rows = (f'[[models]]\nid = "{name}"{ROW}' for name in NAMES)
        super().__init__(folder, "".join(rows), ENVIRONMENT)

    @property
    def loads(self) -> int:
        return sum(line.startswith("worker   ") for line in self["node"].lines())

    def answer_s(self, name: str) -> float:
        """Until a call is answered."""
        began = time.monotonic()
        # Another text each time: an answer that is kept would show nothing.
        body = json.dumps({"inputs": f"What is this? {began}"}).encode()
        caller = Caller(self.api_port, LIMIT_S, {"x-wait-for-model": "true"})
        caller.call("POST", f"/models/{name}", body)
        caller.close()
        return time.monotonic() - began

    def states(self) -> dict[str, str]:
        caller = Caller(self.api_port)
        rows = caller.call("GET", "/v1/models")["data"]
        caller.close()
        return {row["id"]: row["residency"]["state"] for row in rows}

    @contextmanager
    def watched(self) -> Iterator[list[bool]]:
        """Whether anything was loading, again and again."""
        seen, ended = list[bool](), threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_S):
                seen.append("loading" in self.states().values())

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield seen
            finally:
                ended.set()
        looking.result()


def serve() -> dict[str, Any]:
    """Cold models that are asked for alone, then all of them by Zipf's law."""
    with opened(Catalogue) as node:
        cold_s = list(_alone(node))
        loads, began = node.loads, time.monotonic()
        with node.watched() as loading:
            answers = _answers(node, _calls())
        took_s, loads = time.monotonic() - began, node.loads - loads
    every = [answer_s for some in answers.values() for answer_s in some]
    return {
        "cold_s": {"calls": len(cold_s), **percentiles(cold_s, "p50", "p100")},
        "calls": len(every),
        "answer_s": percentiles(every, "p50", "p95"),
        "models": {
            name: {"calls": len(some), **percentiles(some, "p50", "p95")} for name, some in answers.items()
        },
        "swaps": loads,
        "swaps_per_h": round(loads / took_s * 3600),
        "loading_share": round(mean(loading), 3),
    }


def _alone(node: Catalogue) -> Iterator[float]:
    """Each model in turn, where it is cold: of those the two asked last have the room."""
    for name in (*NAMES[2:], *NAMES[:2]):
        time.sleep(PAUSE_S)
        if node.states()[name] == "cold":
            yield node.answer_s(name)


def _calls() -> Sequence[tuple[float, str]]:
    """When each comes: one by one, and in the middle many at once for the model that is asked for least."""
    dice, at = random.Random(SEED), 0.0  # noqa: S311
    calls = [(BURST_AT_S, NAMES[-1])] * BURST
    while (at := at + dice.expovariate(PER_S)) < LASTS_S:
        calls.append((at, dice.choices(NAMES, zipf(len(NAMES)))[0]))
    return sorted(calls)


def _answers(node: Catalogue, calls: Sequence[tuple[float, str]]) -> Answers:
    answers: Answers = {name: [] for name in NAMES}
    began = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = []
        for at, name in calls:
            time.sleep(max(began + at - time.monotonic(), 0))
            pending.append((name, pool.submit(node.answer_s, name)))
        for name, answer in pending:
            answers[name].append(answer.result())
    return {name: some for name, some in answers.items() if some}
