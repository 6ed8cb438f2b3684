"""How soon a cancelled job's row serves the next one, with the tiny model and a real worker.

One row; two more runs are claimed and prepared behind it, as `-c rows + 2` does. A job is cancelled when its
first text is published. Taken from the moment the cancel request leaves:
  next_text   the next run's first text arrives: its row is free, and its prefill and first step are done too
  next_claim  the worker claims another run: the cancelled attempt's thread has ended
Both are later than the moment the row is free. The attempt's end in the record is no measure: the cancelling
script writes it at once.
"""

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.overhead.load import UnexpectedAnswerError
from benchmarks.overhead.site import TINY, Site
from shared.settings import RedisSettings
from shared.store import upkeep
from shared.store.keys import PREFIX, channel
from shared.store.nudges import Nudger
from shared.store.script import connect

LIMIT_S = 60
LINE = 30
"""Jobs beside those cancelled, so that there is always a next one, even if some end by themselves."""
WARM_UP = 3


@dataclass
class Cancellations:
    """In ms."""

    next_text: list[float] = field(default_factory=list)
    next_claim: list[float] = field(default_factory=list)


class _Ear:
    """What happens to runs, in order: (moment in ns, run, whether it is text)."""

    def __init__(self, redis: Any) -> None:
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._pubsub.psubscribe(channel("run_*"))

    def heard(self) -> Iterator[tuple[int, str, bool]]:
        """Raises UnexpectedAnswerError where it takes too long."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            message = self._pubsub.get_message(timeout=1)
            # None is also what a confirmed subscription answers.
            if message:
                name = message["channel"].decode().removeprefix(channel(""))
                yield time.monotonic_ns(), name, message["data"] == b"text"
        raise UnexpectedAnswerError(f"no job of the tiny model began or was cancelled within {LIMIT_S} s")


def measure(site: Site, samples: int) -> Cancellations:
    """Cancel that many jobs in mid-generation, one after the other. Needs the tiny model's worker."""
    redis = site.records.client()
    http_ = http.client.HTTPConnection("127.0.0.1", site.api_port, timeout=LIMIT_S)
    settings = RedisSettings.model_validate({"url": site.records.url()})
    store, jobs = connect(settings), {}
    store.run(upkeep.pause(TINY.lane, paused=True))
    for number in range(WARM_UP + samples + LINE):
        job = _submit(http_, number)
        jobs[redis.hget(f"{PREFIX}{job}", "run").decode()] = job
    # Not earlier: runs that enter the line are announced, too.
    ear, taken, begun = _Ear(redis), Cancellations(), set[str]()
    store.run(upkeep.pause(TINY.lane, paused=False))
    Nudger(settings).send(TINY.lane, len(jobs))
    for _ in range(WARM_UP + samples):
        _one(ear, http_, jobs, begun, taken)
    for job in jobs.values():
        _post(http_, f"/v1/jobs/{job}/cancel", b"")
    return Cancellations(taken.next_text[WARM_UP:], taken.next_claim[WARM_UP:])


def _one(
    ear: _Ear, api: http.client.HTTPConnection, jobs: dict[str, str], begun: set[str], taken: Cancellations
) -> None:
    cancelled = next(run for _, run, text in ear.heard() if text and run in jobs)
    sent = time.monotonic_ns()
    _post(api, f"/v1/jobs/{jobs.pop(cancelled)}/cancel", b"")
    claim = text_at = 0
    for at, run, text in ear.heard():
        if run not in jobs:
            continue
        if text:
            text_at = text_at or at
        elif run not in begun:
            begun.add(run)
            claim = claim or at
        if claim and text_at:
            break
    taken.next_text.append((text_at - sent) / 1e6)
    taken.next_claim.append((claim - sent) / 1e6)


def _submit(api: http.client.HTTPConnection, seed: int) -> str:
    """Submits a job sampled so hot that no answer ends before it is cancelled."""
    parameters = {"max_new_tokens": 1000, "temperature": 50.0, "seed": seed}
    asked = {"model": TINY.id, "input": {"prompt": "What do you see?"}, "parameters": parameters}
    return str(json.loads(_post(api, "/v1/jobs", json.dumps(asked).encode()))["id"])


def _post(api: http.client.HTTPConnection, path: str, body: bytes) -> bytes:
    api.request("POST", path, body, {"content-type": "application/json"})
    response = api.getresponse()
    answer = response.read()
    if response.status not in (200, 202):
        raise UnexpectedAnswerError(f"{path}: {response.status} {answer[:500]!r}")
    return answer
