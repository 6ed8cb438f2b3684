"""One call of the benchmark: part after part, each written down as soon as it is measured."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import findings
from benchmarks.batching import ours
from benchmarks.batching.driver import WrongAnswerError
from benchmarks.batching.measuring import Measuring
from benchmarks.batching.plan import Part, Size
from benchmarks.batching.questions import SUBJECTS
from benchmarks.batching.results import Results
from benchmarks.batching.servers import made, serving
from benchmarks.processes import ROOT
from benchmarks.server import NotStartedError
from sightline.serving.child import heap
from sightline.serving.server import find_binary


class Run:
    """`left_out` are the parts that could not be measured; other parts keep their figures."""

    def __init__(self, results: Results, size: Size, say: Callable[[str], None]) -> None:
        self.left_out: list[str] = []
        self._results, self._size, self._say = results, size, say

    def part(self, part: Part, vllm: Path) -> None:
        """`vllm` is the Python that vLLM is installed for."""
        self._say(f"{part}: starts")
        about = _now()
        with self._may_be_left_out(str(part)), serving(part, vllm) as served:
            found = Measuring(part, self._size, served).all(self._say)
            self._results.add(part, about | {"versions": served.versions} | found)
            self._save()

    def decoding(self, model: str, dtype: str) -> None:
        """Measures in a process of its own, so that its memory is freed."""
        self._say(f"{model} {dtype}: steps of the engine and of generate()")
        about, rows, tokens = _now(), self._size.decode_rows, self._size.decode_tokens
        with self._may_be_left_out(f"{model} {dtype} decoding"):
            made(SUBJECTS[model])
            argv = ("-m", "benchmarks.batching.decoding", model, dtype, str(rows), str(tokens))
            env = dict(os.environ) | {"OMP_NUM_THREADS": "1"} | heap(os.environ)
            done = subprocess.run(  # noqa: S603
                (sys.executable, *argv), cwd=ROOT, env=env, capture_output=True, text=True
            )
            if done.returncode:
                raise NotStartedError(done.stderr[-2000:])
            self._results.add_decoding({"model": model, "dtype": dtype} | about | json.loads(done.stdout))
            self._save()

    @contextmanager
    def _may_be_left_out(self, name: str) -> Iterator[None]:
        try:
            yield
        except (NotStartedError, WrongAnswerError) as error:
            self._say(f"{name}: left out: {error}")
            self.left_out.append(name)

    def _save(self) -> None:
        self._results.save(
            date=_now()["date"],
            versions=findings.versions(".".join(map(str, find_binary().version))),
            seconds={"one_by_one": self._size.one_by_one_s, "together": self._size.together_s},
            rows=ours.ROWS,
            limits=findings.listed(self._results.bounds()),
        )


def _now() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": [round(x, 2) for x in os.getloadavg()],
    }
