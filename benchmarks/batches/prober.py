"""A caller that asks one short question after the other, in a process of its own, and records the waits.

`python -m benchmarks.batches.prober PORT FILE`: a line for each question, `began seconds status`, on the
monotonic clock, which is one for all processes of a machine. Status 0: no answer came.
"""

import http.client
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.batches.lines import ENDPOINT, MODEL

PAUSE_S = 0.03
LIMIT_S = 30


@dataclass(frozen=True)
class Probe:
    began: float
    took_s: float
    status: int


class Prober:
    """Keeps its connection for as long as the other end does."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)

    def ask(self, number: int) -> int:
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"How is number {number}?"}]}
        try:
            self._connection.request("POST", ENDPOINT, json.dumps(body), {"content-type": "application/json"})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return answer.status


def probe(prober: Prober, out: TextIO) -> None:
    """Until the process is ended."""
    number = 0
    while True:
        began = time.monotonic()
        status = prober.ask(number)
        print(began, time.monotonic() - began, status, file=out, flush=True)
        number += 1
        time.sleep(PAUSE_S)


def read(path: Path) -> Sequence[Probe]:
    """Whole lines only: the last one may still be written."""
    whole = path.read_text().rpartition("\n")[0].splitlines()
    return [Probe(float(at), float(took), int(status)) for at, took, status in map(str.split, whole)]


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as file:
        probe(Prober(int(sys.argv[1])), file)
