"""What stays small: the broker's message, and the API process."""

import http.client
import re

import psutil

from benchmarks.overhead import questions
from benchmarks.overhead.load import UnexpectedAnswerError
from benchmarks.overhead.site import Site

SIDE = 1870
"""Side of a noise picture of 10 MB."""
HEAVY = ("torch", "transformers", "numpy")
_IMPORT = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)


def message_bytes(site: Site) -> tuple[int, int]:
    """Bytes of the newest broker message after a job with a large picture, and bytes of that picture."""
    picture = questions.noise(SIDE)
    connection = http.client.HTTPConnection("127.0.0.1", site.api_port, timeout=30)
    connection.request(
        "POST", "/v1/jobs", questions.job("What is this?", picture), {"content-type": "application/json"}
    )
    response = connection.getresponse()
    answer = response.read()
    if response.status != 202:
        raise UnexpectedAnswerError(f"{response.status} {answer[:500]!r}")
    connection.close()
    with site.records.client(1) as broker:
        return len(broker.lindex(questions.LANE, 0)), len(picture)


def rss_mb(site: Site) -> float:
    """Resident memory of the API process, in MB of a million bytes."""
    return float(psutil.Process(site.processes["api"].pid).memory_info().rss / 1e6)


def imported(site: Site) -> list[str]:
    """Which heavy packages the API process imported so far (PYTHONPROFILEIMPORTTIME logs every import)."""
    names = set(_IMPORT.findall(site.log("api").read_text(errors="replace")))
    if "api" not in names:
        raise UnexpectedAnswerError("the API's log lists no imports")
    return sorted(names & set(HEAVY))
