"""The steady load once more, with real processes: HTTP, Celery, and a worker whose engine takes its time."""

import http.client
import json
import random
import time
from typing import Any

from benchmarks.overhead import questions, site
from benchmarks.simulation import Piece
from shared.job import Estimate

FEWEST, MOST = 5, 60
"""Words of a question; the engine takes 10 ms for each."""
MEAN_S = (FEWEST + MOST) / 2 * 0.01
USE = 0.8
LIMIT_S = 60


def play(*, jobs: int, seed: int) -> list[Piece]:
    """Jobs in the order in which they came, each begun; times by the records' own clock."""
    dice = random.Random(seed)  # noqa: S311
    with site.opened() as opened:
        site.start_worker(opened, site.PACED)
        api = http.client.HTTPConnection("127.0.0.1", opened.api_port, timeout=LIMIT_S)
        due = time.monotonic()
        submitted = []
        for number in range(jobs):
            time.sleep(max(due - time.monotonic(), 0))
            due += dice.expovariate(USE * site.PACED.rows / MEAN_S)
            words = " ".join(["word"] * (dice.randint(FEWEST, MOST) - 1))
            body = questions.job(f"{number:06d} {words}", model=site.PACED.id)
            submitted.append(_ask(api, "POST", "/v1/jobs", body))
        return [_piece(job, _ask(api, "GET", f"{job['urls']['self']}?wait={LIMIT_S}")) for job in submitted]


def _ask(api: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    api.request(method, path, body, {"content-type": "application/json"})
    answer: dict[str, Any] = json.loads(api.getresponse().read())
    return answer


def _piece(job: dict[str, Any], ended: dict[str, Any]) -> Piece:
    told, begun = job["estimate"], ended["attempts"][0]["started_at"]
    # Both are whole milliseconds; their difference as a binary fraction is a little off.
    waited = round(begun - job["created_at"], 3)
    return Piece(
        caller="anyone",
        priority="normal",
        cost=1,
        service_s=ended["ended_at"] - ended["started_at"],
        submitted_s=0.0,
        told=Estimate(told["p50"], told["p90"], told["service_s"], told["basis"]),
        begun_s=waited,
    )
