"""A caller that asks one short question after the other, in a process of its own, and records the waits.

`python -m benchmarks.batches.prober PORT FILE`: a line for each question, `began seconds status`, on the
monotonic clock, which is one for all processes of a machine. Status 0: no answer came, 1: an error.
"""

import http.client
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batches.lines import ENDPOINT, MODEL
from benchmarks.frame.load import Caller, UnexpectedAnswerError

PAUSE_S = 0.03


@dataclass(frozen=True)
class Probe:
    began: float
    took_s: float
    status: int


def ask(caller: Caller, number: int) -> int:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"How is number {number}?"}]}
    try:
        caller.raw("POST", ENDPOINT, json.dumps(body).encode())
    except UnexpectedAnswerError:
        return 1
    except (OSError, http.client.HTTPException):
        # The next question opens a new connection.
        caller.close()
        return 0
    return 200


def read(path: Path) -> Sequence[Probe]:
    """Whole lines only: the last one may still be written."""
    whole = path.read_text().rpartition("\n")[0].splitlines()
    return [Probe(float(at), float(took), int(status)) for at, took, status in map(str.split, whole)]


if __name__ == "__main__":
    caller = Caller(int(sys.argv[1]))
    with Path(sys.argv[2]).open("w") as file:
        for number in itertools.count():
            began = time.monotonic()
            status = ask(caller, number)
            print(began, time.monotonic() - began, status, file=file, flush=True)
            time.sleep(PAUSE_S)
