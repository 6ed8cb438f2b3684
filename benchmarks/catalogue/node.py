"""Eight models on a node with room for two of them: synchronous calls that wait for their model."""

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.frame.load import Caller
from benchmarks.frame.services import TINY, Installation, free_port, opened
from benchmarks.frame.statistics import percentiles

SEED = 1
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
"""Between calls that come alone: by then a model may leave, and is idle."""
LASTS_S, PER_S = 60.0, 1.0
BURST, BURST_AT_S = 15, 30.0
LIMIT_S = 180
LOOK_S = 0.2


class Catalogue(Installation):
    """The service with a node, which loads the models that are asked for."""

    def __init__(self, folder: Path) -> None:
        rows = (f'[[models]]\nid = "{name}"{ROW}' for name in NAMES)
        super().__init__(folder, "".join(rows), ENVIRONMENT)
        self.api_port = free_port()

    def start(self) -> None:
        self.add(self.records)
        self.courier()
        self.api(self.api_port)
        self.run("node", sys.executable, "-m", "sightline", "node", env=self.environment)
        # The node loads the first rows before anybody asks.
        self.wait_until(f"http://127.0.0.1:{self.api_port}/models/{NAMES[1]}/health")

    @property
    def loads(self) -> int:
        return sum(line.startswith("worker   ") for line in self["node"].lines())

    def answer_s(self, name: str, at: float = 0.0) -> float:
        """Call at a moment of the monotonic clock; return how long the answer took."""
        time.sleep(max(at - time.monotonic(), 0))
        began = time.monotonic()
        # Another text each time: a cached answer would show nothing.
        body = json.dumps({"inputs": f"What is this? {began}"}).encode()
        with closing(Caller(self.api_port, LIMIT_S, {"x-wait-for-model": "true"})) as caller:
            caller.call("POST", f"/models/{name}", body)
        return time.monotonic() - began

    def states(self) -> dict[str, str]:
        with closing(Caller(self.api_port)) as caller:
            rows = caller.call("GET", "/v1/models")["data"]
        return {row["id"]: row["residency"]["state"] for row in rows}


def serve() -> dict[str, Any]:
    """Call cold models alone, then all of them by Zipf's law."""
    with opened(Catalogue) as node:
        cold_s = list(_alone(node))
        loads = node.loads
        answer_s, loading = _answers(node, _calls())
        loads = node.loads - loads
    return {
        "cold_s": percentiles(cold_s, "p50"),
        "answer_s": percentiles(answer_s, "p50", "p95"),
        "swaps": loads,
        "loading_share": round(loading, 3),
    }


def _alone(node: Catalogue) -> Iterator[float]:
    """Call each model in turn if it is cold; the two that were called last are loaded."""
    for name in (*NAMES[2:], *NAMES[:2]):
        time.sleep(PAUSE_S)
        if node.states()[name] == "cold":
            yield node.answer_s(name)


def _calls() -> Sequence[tuple[float, str]]:
    """When each comes: one by one, and in the middle many at once for the model that is called least."""
    dice, at = random.Random(SEED), 0.0  # noqa: S311
    weights = [1 / (place + 1) for place in range(len(NAMES))]
    calls = [(BURST_AT_S, NAMES[-1])] * BURST
    while (at := at + dice.expovariate(PER_S)) < LASTS_S:
        calls.append((at, dice.choices(NAMES, weights)[0]))
    return sorted(calls)


def _answers(node: Catalogue, calls: Sequence[tuple[float, str]]) -> tuple[list[float], float]:
    """Return the seconds until each answer, and the share of the time in which a model was loading."""
    began, loading = time.monotonic(), list[bool]()
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = [pool.submit(node.answer_s, name, began + at) for at, name in calls]
        while wait(pending, LOOK_S).not_done:
            loading.append("loading" in node.states().values())
        return [answer.result() for answer in pending], mean(loading)
