"""One worker before a clock: requests a second, how long the device waits, an urgent caller's first text.

Run as a file from the root of a checkout, whose code it measures, with a model's folder and parts of one
family on as many cores as JSON; it prints JSON. Claims, attempts, decoders, prompts and the record store are
real. It uses only what also an earlier commit has, so that two commits can be measured by turns.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path.cwd()))

import torch

from benchmarks.frame.services import record_server
from benchmarks.frame.usage import Usage
from benchmarks.preparing import families
from benchmarks.preparing.clock_engine import ClockEngine, Device
from shared import ids
from shared.blobs import Blobs, digest
from shared.models import Model
from shared.request import Image as Shown
from shared.request import Message, Parameters, Request, Text
from shared.settings import BlobSettings, RedisSettings, Settings
from shared.store import admission
from shared.store.admission import Placing
from shared.store.nudges import Nudger
from worker import model_worker
from worker.engines.base import Engine, Row

PAGES = 6
WARM, LIMIT_S = 4, 120.0


@dataclass(frozen=True)
class Part:
    """Pages of one size for one family on so many cores. `urgent_s`: one caller more comes so often."""

    family: str
    size: tuple[int, int]
    cores: int
    device: Device
    requests: int = 48
    rows: int = 16
    answer: int = 32
    urgent_s: float = 0.5
    urgent: int = 10


class Line:
    """Submits pages and hears of their first tokens."""

    def __init__(self, part: Part, model: Model, settings: Settings) -> None:
        self._part, self._model = part, model
        self.first: dict[str, tuple[float, float]] = {}
        """By run: when its first token came, and how long the device had worked by then."""
        self.tokens = 0
        self.leases: Any = None
        self._arrived = threading.Condition()
        blobs = Blobs(settings.blobs)
        self._pages = [families.page(part.size, number) for number in range(PAGES)]
        for data in self._pages:
            blobs.write(digest(data), data)
        self._count = 0

    def arrived(self, row: Row, busy_s: float) -> None:
        """The row's first token has come."""
        run = next(one.claim.id for one in self.leases.all() if one.cancel is row.cancel)
        with self._arrived:
            self.first[run] = time.perf_counter(), busy_s
            self.tokens = row.prompt.tokens
            self._arrived.notify_all()

    def wait(self, runs: list[str]) -> None:
        """Until each has its first token. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: all(run in self.first for run in runs), LIMIT_S):
                raise TimeoutError

    def placing(self, priority: str = "normal") -> Placing:
        self._count += 1
        name = digest(self._pages[self._count % PAGES])
        question = Text(text=f"{families.QUESTION * 3} Page {self._count}.")
        request = Request(
            model=self._model.id,
            messages=(Message(role="user", parts=(Shown(digest=name), question)),),
            parameters=Parameters(max_new_tokens=self._part.answer, temperature=0.0),
        )
        job = ids.job_id()
        # Runs had records of their own in earlier commits.
        run: dict[str, Any] = {"run": f"run_{ids.token()}"} if "run" in Placing.__annotations__ else {}
        return Placing(
            job=job,
            caller=f"{priority}-caller",
            model=self._model.id,
            lane=self._model.lane,
            priority=priority,  # type: ignore[arg-type]
            hash=job,
            key=None,
            blobs=(name,),
            cost=1,
            request=request.model_dump_json(exclude_none=True),
            **run,
        )


class Bench:
    """A worker with its threads, and the line that it works on; `row` has more of its model's."""

    row: Mapping[str, Any] = MappingProxyType({"engine": "continuous", "options": {"cache_mb": 64}})

    def __init__(self, part: Part, source: Path, folder: Path, redis: RedisSettings) -> None:
        self.model = Model.model_validate(
            {**self.row, "id": part.family, "source": str(source), "rows": part.rows}
        )
        self.settings = Settings(redis=redis, blobs=BlobSettings(url=str(folder / "blobs")))
        self.part, self.line = part, Line(part, self.model, self.settings)
        # Celery's part: a thread for each nudge.
        Nudger.send = self._nudge  # type: ignore[method-assign, assignment]
        self.engine: Any = self.new_engine()
        model_worker.create = lambda _: self.engine  # type: ignore[attr-defined, assignment]
        self.worker = model_worker.open_model_worker(self.settings, self.model, self.model.threads)
        self.nudges = threading.Semaphore(0)
        for _ in range(self.model.threads):
            threading.Thread(target=self._serve, daemon=True).start()

    def new_engine(self) -> Engine:
        """The engine, which says when a row's first token comes."""
        engine = ClockEngine(self.model, self.part.device, lambda row: self.line.arrived(row, engine.busy_s))
        return engine

    def _nudge(self, lane: str, count: int = 1) -> bool:  # noqa: ARG002
        self.nudges.release(count)
        return True

    def _serve(self) -> None:
        while self.nudges.acquire():
            self.worker.work(self.model.lane)

    def submit(self, count: int, priority: str = "normal") -> list[str]:
        placings = [self.line.placing(priority) for _ in range(count)]
        calls = [admission.submit(placing, self.settings, uploaded=True) for placing in placings]
        self.worker.context.store.run_all(calls)
        self.nudges.release(count)
        return [getattr(placing, "run", placing.job) for placing in placings]

    def throughput(self) -> dict[str, float]:
        """A line of requests that all wait from the beginning."""
        usage = Usage([os.getpid()])
        cpu = usage.cpu_s()
        runs = self.submit(self.part.requests)
        self.line.wait(runs)
        cpu = usage.cpu_s() - cpu
        # From the first token to the last: the start with nothing prepared is no part of a busy line.
        (began, busy), *others = sorted(self.line.first[run] for run in runs)
        took, worked = others[-1][0] - began, others[-1][1] - busy
        return {"per_s": len(others) / took, "waits": 1 - worked / took, "cpu_s": cpu / len(runs)}

    def urgent(self) -> list[float]:
        """Seconds to the first text of callers that come one by one into a line that never ends."""
        busy, submitted = list[str](), dict[str, float]()
        while len(submitted) < self.part.urgent:
            if sum(run not in self.line.first for run in busy) < 2 * self.part.rows:
                busy += self.submit(self.part.rows)
            (run,) = self.submit(1, "interactive")
            submitted[run] = time.perf_counter()
            time.sleep(self.part.urgent_s)
        self.line.wait([*submitted, *busy])
        return [self.line.first[run][0] - came for run, came in submitted.items()]

    def measure(self, part: Part) -> dict[str, Any]:
        self.part, self.line = part, Line(part, self.model, self.settings)
        self.line.leases, self.engine.device = self.worker.context.leases, part.device
        self.line.wait(self.submit(WARM))
        figures: dict[str, Any] = self.throughput()
        waits = sorted(self.urgent()) or [0.0]
        return figures | {
            "urgent_p50": median(waits),
            "urgent_longest": waits[-1],
            "allows": part.device.allows(self.line.tokens, part.answer, part.rows),
            "processor": type(self.engine._loaded.renderer._processor.image_processor).__name__,
        }


def part_of(arguments: dict[str, Any]) -> Part:
    return Part(**{**arguments, "size": tuple(arguments["size"]), "device": Device(**arguments["device"])})


def main() -> None:
    source, parts = Path(sys.argv[1]), [part_of(part) for part in json.loads(sys.argv[2])]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: parts[0].cores])
    torch.set_num_threads(1)
    families.stand_in()
    with record_server() as records, TemporaryDirectory() as folder:
        bench = Bench(parts[0], source, Path(folder), records.settings)
        print(json.dumps([bench.measure(part) for part in parts]), flush=True)
    # Its threads wait for nudges.
    os._exit(0)


if __name__ == "__main__":
    main()
