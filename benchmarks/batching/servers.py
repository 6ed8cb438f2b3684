"""The servers under measurement, each on loopback and ended after its part."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batching.questions import FOLDERS, LONGEST, message
from benchmarks.frame.services import ROOT, Installation, Services, free_port, temporary_folder
from benchmarks.frame.usage import Usage
from shared.settings import Settings, WorkerSettings
from shared.store import jobs
from shared.store.script import connect

SYSTEMS = {
    "continuous": "ours, engine `continuous`",
    "wide": "ours, engine `continuous`, one worker",
    "sequential": "ours, engine `sequential`",
    "serve": "`transformers serve`",
    "vllm": "vLLM, CPU build",
    "vllm_engine": "ours, engine `vllm`",
}
"""`wide` is one worker with a thread for each core; `continuous` is a worker of one thread for each core."""
OURS = ("continuous", "wide", "sequential", "vllm_engine")
VLLM = ("vllm", "vllm_engine")
"""Systems that need vLLM's own Python."""
ONE_PROCESS = ("wide", *VLLM)
ONE_BY_ONE = ("sequential", "serve")
"""Systems that compute one answer after the other, so a measurement may end after any answer."""
ROWS, VLLM_ROWS = 16, 32
PEERS = ROOT / "data" / "peers"
"""Packages that only `transformers serve` needs: accelerate."""
START_LIMIT_S = 300.0
VLLM_CACHE_GB, VLLM_LENGTH = "1", "1024"
SILENT = ("--disable-log-stats", "--disable-uvicorn-access-log")
"""Ours log nothing either."""


@dataclass(frozen=True)
class Part:
    """One server in one run. With two cores `continuous` has two workers, the others have two threads."""

    system: str
    cores: int
    device: str = "cpu"
    model: str = "mid"
    dtype: str = "bfloat16"

    @property
    def folder(self) -> Path:
        return FOLDERS[self.model]

    @property
    def longest(self) -> int:
        """Most tokens of an answer."""
        return LONGEST[self.model]

    @property
    def rows(self) -> int:
        """As many as the largest crowd, on a device that computes them in about the time of one."""
        return ROWS if self.device == "cpu" else 4 * ROWS


@dataclass(frozen=True)
class Serving:
    """A server that answers: where, the model's name there, what it takes of the machine."""

    port: int
    model: str
    usage: Usage
    counts_tokens: bool
    """Whether it counts the tokens of an answer without a request for that."""

    def messages(self, numbers: Sequence[int], longest: int) -> list[bytes]:
        """Return the HTTP requests of these questions, made beforehand."""
        options = {} if self.counts_tokens else {"stream_options": {"include_usage": True}}
        return [message(number, self.model, longest, **options) for number in numbers]


@contextmanager
def serving(part: Part, vllm: Path) -> Iterator[Serving]:
    """`vllm` is the Python that vLLM is installed for. Raises NotStartedError."""
    port = free_port()
    make(part.folder)
    python = vllm if part.system in VLLM else Path(sys.executable)
    with temporary_folder() as folder:
        services = _installation(folder, part) if part.system in OURS else Services(folder)
        try:
            if isinstance(services, Installation):
                model = _start_ours(services, part, port, python)
            elif part.system == "serve":
                model = _start_transformers(services, part, port)
            else:
                model = _start_vllm(services, part, port, python)
            usage = Usage(services.pids().values())
            yield Serving(port, model, usage, counts_tokens=part.system == "serve")
        finally:
            services.stop_all()


def make(folder: Path, copy: Path | None = None) -> None:
    """Build the model's folder, or its copy for vLLM, if it is not there yet."""
    if not ((copy or folder) / "config.json").exists():
        folders = [str(folder), *([str(copy)] if copy else [])]
        argv = (sys.executable, "-m", "benchmarks.batching.models", *folders)
        subprocess.run(argv, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)  # noqa: S603


def _vllm_model(part: Part) -> Path:
    """Return the same weights under the names that vLLM reads."""
    copy = ROOT / "data" / "models" / f"{part.model}-vllm"
    make(part.folder, copy)
    return copy


def _installation(folder: Path, part: Part) -> Installation:
    source = part.folder
    if part.system == "vllm_engine":
        source = _vllm_model(part)
        engine = f'engine = "vllm"\nrows = {VLLM_ROWS}\ncontext_length = {VLLM_LENGTH}\n'
        engine += f"options = {{ cache_mb = {int(VLLM_CACHE_GB) * 1024} }}\n"
    else:
        kind, rows = ("sequential", 1) if part.system == "sequential" else ("continuous", part.rows)
        engine = f'engine = "{kind}"\nrows = {rows}\ndevice = "{part.device}"\n'
    models = (
        f'[[models]]\nid = "bench/{part.model}"\nsource = "{source}"\n{engine}'
        f'dtype = "{part.dtype}"\nmax_new_tokens = {part.longest}\n'
    )
    threads = part.cores if part.system in ONE_PROCESS else 1
    # Callers may wait long for others' answers: the measurement sets the end.
    environment = {"SIGHTLINE_API__SYNC_LIMIT_S": "3600", "SIGHTLINE_WORKER__THREADS": str(threads)}
    services = Installation(folder, models, environment)
    services.settings = Settings(worker=WorkerSettings(threads=threads), log_level="warning")
    return services


def _start_ours(services: Installation, part: Part, port: int, python: Path) -> str:
    """Start a record server, the API, a courier, and a worker for each core or one for all."""
    workers, model = 1 if part.system in ONE_PROCESS else part.cores, services.models.rows[0]
    services.add(services.records)
    for number in range(workers):
        services.worker(name=f"worker-{number}", python=python)
    services.courier()
    services.api(port)
    services.wait_until(f"http://127.0.0.1:{port}/ready", START_LIMIT_S)
    store, lane = connect(services.records.settings), jobs.lane(services.settings, model.lane)
    services.until(lambda: store.run(lane).ready >= workers, f"{workers} workers are ready", START_LIMIT_S)
    store.client.close()
    return model.id


def _start_transformers(services: Services, part: Part, port: int) -> str:
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(part.cores),
        "HF_HUB_OFFLINE": "1",
    }
    # Its program need not lie beside Python if packages were installed elsewhere.
    program = (sys.executable, "-m", "transformers.cli.transformers", "serve", str(part.folder))
    options = ("--dtype", part.dtype, "--device", part.device, "--host", "127.0.0.1", "--port", str(port))
    services.run("serve", *program, *options, env=env)
    services.wait_until(f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return str(part.folder)


def _start_vllm(services: Services, part: Part, port: int, python: Path) -> str:
    folder = _vllm_model(part)
    env = {
        "VLLM_CPU_KVCACHE_SPACE": VLLM_CACHE_GB,
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{part.cores - 1}",
        "VLLM_NO_USAGE_STATS": "1",
        # For its other processes: the engine takes the cores that it is bound to.
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    limits = ("--max-model-len", VLLM_LENGTH, "--max-num-seqs", str(VLLM_ROWS))
    options = ("--dtype", part.dtype, *limits, "--host", "127.0.0.1", "--port", str(port), *SILENT)
    services.run("vllm", str(python.parent / "vllm"), "serve", str(folder), *options, env=env)
    services.wait_until(f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return str(folder)
