"""Start: ours as `make run` configures it, and the baselines next to it on the same record server."""

import base64
import itertools
import json
import os
import struct
import subprocess
import sys
import venv
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame.jobs import lane_of
from benchmarks.frame.load import post
from benchmarks.frame.services import ROOT, TINY, Installation, free_port

LOAD_LIMIT_S = 240
"""How long a model may load that needs torch, or LiteLLM's proxy, on a busy machine."""
CELERY = ("worker", "--pool=threads", "--without-gossip", "--without-mingle", "--loglevel=WARNING")
UVICORN = ("--host", "127.0.0.1", "--http", "h11", "--no-access-log", "--log-level", "warning")
UNLIMITED = {
    # Submits are measured while no worker consumes them.
    "SIGHTLINE_QUEUE__MAX_QUEUED": "10000000",
    "SIGHTLINE_QUEUE__MAX_QUEUED_CALLER": "10000000",
}
LITELLM = ROOT / ".venv-litellm"
LITELLM_PACKAGE = "litellm[proxy]==1.108.7"
LITELLM_ENV = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
"""It logs errors only, fetches no list of prices, and asks for no key, as ours."""
SAMPLE = ROOT / "examples" / "sample.png"
QUESTION = "How many red circles stand left of the blue square, and does one of them touch it?"
BARE_TASK, BARE_QUEUE, BARE_CHANNEL = "bare.started", "bare", "bare:started"
BARE_NODE = "bare_celery@bench"
_numbers = itertools.count()


@dataclass(frozen=True)
class ServedModel:
    """A model of the benchmarks; `options` are the other lines of its row."""

    id: str
    rows: int
    options: str

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def lane(self) -> str:
        return lane_of(self.id)

    def toml(self) -> str:
        return f'[[models]]\nid = "{self.id}"\nrows = {self.rows}\n{self.options}\n'


ECHO = ServedModel("bench/echo", 2, 'engine = "echo"')
WIDE = ServedModel("bench/wide", 16, 'engine = "echo"')
TINY_MODEL = ServedModel("sightline/tiny", 1, f'source = "{TINY}"\ndtype = "float32"')


class OverheadServices(Installation):
    """Ours and the baselines, each web server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "".join(model.toml() for model in (ECHO, WIDE, TINY_MODEL)), UNLIMITED)
        self.api_port, self.bare_port, self.litellm_port = free_port(), free_port(), free_port()

    def start(self) -> None:
        self.add(self.records)
        self.worker(ECHO.id)
        self.courier()
        self.api(self.api_port)
        env = {"BENCH_REDIS": self.records.url(2), "BENCH_BROKER": self.records.url(1)}
        celery = ("-A", "benchmarks.overhead.baselines", *CELERY, "-c", str(ECHO.rows + 2), "-n", BARE_NODE)
        self.run("bare_celery", sys.executable, "-m", "celery", *celery, env=env)
        web = ("benchmarks.overhead.baselines:web", "--port", str(self.bare_port), *UVICORN)
        self.run("bare_web", sys.executable, "-m", "uvicorn", *web, env=env)
        self.wait_until(f"http://127.0.0.1:{self.api_port}/models/{ECHO.id}/health")
        self.wait_until(f"http://127.0.0.1:{self.bare_port}/openapi.json")

    def start_worker(self, model: ServedModel) -> None:
        """Start a worker for another model, named after it. Raises NotStartedError."""
        self.worker(model.id, model.name)
        self.wait_until(f"http://127.0.0.1:{self.api_port}/models/{model.id}/health", LOAD_LIMIT_S)

    def start_litellm(self) -> None:
        """Start LiteLLM's proxy, one worker with its Redis cache, before our API. Raises NotStartedError.

        It is installed at the first run, in an environment of its own because of its pins (0.8 GB).
        """
        command = LITELLM / "bin/litellm"
        if not command.exists():
            venv.create(LITELLM, clear=True, with_pip=True)
            pip = (str(LITELLM / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
            subprocess.run([*pip, "install", LITELLM_PACKAGE], check=True)  # noqa: S603
        api = f"http://127.0.0.1:{self.api_port}/v1"
        upstream = {"model": f"openai/{ECHO.id}", "api_base": api, "api_key": "none"}
        config = {
            "model_list": [{"model_name": ECHO.id, "litellm_params": upstream}],
            "litellm_settings": {
                "cache": True,
                "cache_params": {"type": "redis", "url": self.records.url(3)},
            },
        }
        file = self.folder / "litellm.yaml"
        # YAML is a superset of JSON.
        file.write_text(json.dumps(config))
        where = ("--config", str(file), "--host", "127.0.0.1", "--port", str(self.litellm_port))
        how = ("--num_workers", "1", "--telemetry", "False")
        self.run("litellm", str(command), *where, *how, env=LITELLM_ENV)
        self.wait_until(f"http://127.0.0.1:{self.litellm_port}/health/liveliness", LOAD_LIMIT_S)


def hf_question() -> bytes:
    """One question about one small picture, always the same."""
    inputs = {"image": base64.b64encode(SAMPLE.read_bytes()).decode(), "question": QUESTION}
    return json.dumps({"inputs": inputs}).encode()


def chat_question() -> bytes:
    """One question without a picture, always the same."""
    return json.dumps({"model": ECHO.id, "messages": [{"role": "user", "content": QUESTION}]}).encode()


def job(question: str, image: bytes | None = None, model: str = ECHO.id) -> bytes:
    body: dict[str, Any] = {"prompt": question}
    if image is not None:
        body["image"] = "data:image/png;base64," + base64.b64encode(image).decode()
    return json.dumps({"model": model, "input": body}).encode()


def distinct_jobs(image: bytes | None = None, model: str = ECHO.id) -> Callable[[], bytes]:
    """Messages that submit a question never asked before, about the same picture or none."""
    before, _, after = post("/v1/jobs", job(f"{'0' * 12} {QUESTION}", image, model)).partition(b"0" * 12)
    return lambda: b"%s%012d%s" % (before, next(_numbers), after)


def distinct_pictures() -> Callable[[], bytes]:
    """Messages that submit a question about a picture never seen before."""
    return lambda: post("/v1/jobs", job(QUESTION, _numbered(SAMPLE.read_bytes(), next(_numbers))))


def noise(side: int) -> bytes:
    """Return a PNG that does not compress: three bytes a pixel."""
    rows = b"".join(b"\0" + os.urandom(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 0)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _numbered(png: bytes, number: int) -> bytes:
    """Return the same picture with other bytes."""
    return png[:33] + _chunk(b"tEXt", b"Comment\0%d" % number) + png[33:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
