"""Start: ours as `make run` configures it, and the baselines next to it on the same record server."""

import base64
import itertools
import json
import struct
import subprocess
import sys
import venv
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.frame.jobs import lane_of
from benchmarks.frame.load import post
from benchmarks.frame.services import ROOT, TINY, Installation, free_port

LOAD_LIMIT_S = 240
"""How long a model may load that needs torch, or LiteLLM's proxy, on a busy machine."""
CELERY = ("worker", "--pool=threads", "-c4", "--without-gossip", "--without-mingle", "--loglevel=WARNING")
"""As many threads as the worker of the first model has."""
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


ECHO, WIDE, TINY_MODEL = "bench/echo", "bench/wide", "sightline/tiny"
ECHO_LANE, WIDE_LANE, TINY_LANE = map(lane_of, (ECHO, WIDE, TINY_MODEL))
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 2

[[models]]
id = "{WIDE}"
engine = "echo"
rows = 16

[[models]]
id = "{TINY_MODEL}"
source = "{TINY}"
dtype = "float32"
rows = 1
"""


class OverheadServices(Installation):
    """Ours and the baselines, each web server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, UNLIMITED)
        self.api_port, self.bare_port, self.litellm_port = free_port(), free_port(), free_port()

    def start(self) -> None:
        self.add(self.records)
        self.worker(ECHO)
        self.courier()
        self.api(self.api_port)
        env = {"BENCH_REDIS": self.records.url(2), "BENCH_BROKER": self.records.url(1)}
        celery = ("-A", "benchmarks.overhead.baselines", *CELERY, "-n", BARE_NODE)
        self.run("bare_celery", sys.executable, "-m", "celery", *celery, env=env)
        web = ("benchmarks.overhead.baselines:web", "--port", str(self.bare_port), *UVICORN)
        self.run("bare_web", sys.executable, "-m", "uvicorn", *web, env=env)
        self.wait_until(f"http://127.0.0.1:{self.api_port}/models/{ECHO}/health")
        self.wait_until(f"http://127.0.0.1:{self.bare_port}/openapi.json")

    def start_worker(self, model: str) -> None:
        """Start a worker for another model. Raises NotStartedError."""
        self.worker(model, "other-worker")
        self.wait_until(f"http://127.0.0.1:{self.api_port}/models/{model}/health", LOAD_LIMIT_S)

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
        upstream = {"model": f"openai/{ECHO}", "api_base": api, "api_key": "none"}
        config = {
            "model_list": [{"model_name": ECHO, "litellm_params": upstream}],
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
    return json.dumps({"model": ECHO, "messages": [{"role": "user", "content": QUESTION}]}).encode()


def job(question: str, image: bytes | None = None, model: str = ECHO) -> bytes:
    body: dict[str, Any] = {"prompt": question}
    if image is not None:
        body["image"] = "data:image/png;base64," + base64.b64encode(image).decode()
    return json.dumps({"model": model, "input": body}).encode()


def distinct_jobs(image: bytes | None = None, model: str = ECHO) -> Callable[[], bytes]:
    """Messages that submit a question never asked before, about the same picture or none."""
    before, _, after = post("/v1/jobs", job(f"{'0' * 12} {QUESTION}", image, model)).partition(b"0" * 12)
    return lambda: b"%s%012d%s" % (before, next(_numbers), after)


def distinct_pictures() -> Callable[[], bytes]:
    """Messages that submit a question about a picture never seen before."""
    return lambda: post("/v1/jobs", job(QUESTION, commented(b"%d" % next(_numbers))))


def commented(text: bytes) -> bytes:
    """Return the sample picture with a comment, so that its bytes are new."""
    png, chunk = SAMPLE.read_bytes(), b"tEXtComment\0" + text
    size, checksum = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + size + chunk + checksum + png[33:]
