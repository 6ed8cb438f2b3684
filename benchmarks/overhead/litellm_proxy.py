"""LiteLLM's proxy with its Redis cache before our API, in an environment of its own because of its pins."""

import json
import subprocess
import venv

from benchmarks.frame.load import Caller, UnexpectedAnswerError
from benchmarks.frame.services import ROOT, Services

FOLDER = ROOT / ".venv-litellm"
PACKAGE = "litellm[proxy]==1.108.7"
START_LIMIT_S = 240
ENV = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
"""It logs errors only, fetches no list of prices, and asks for no key, as ours."""


def make() -> str:
    """Return the command of the proxy, which is installed if it is not there (minutes, 0.8 GB)."""
    command = FOLDER / "bin/litellm"
    if not command.exists():
        venv.create(FOLDER, clear=True, with_pip=True)
        pip = (str(FOLDER / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        subprocess.run([*pip, PACKAGE], check=True)  # noqa: S603
    return str(command)


def start(services: Services, port: int, api_port: int, model: str, redis: str) -> None:
    """Start one worker that asks our API and caches answers in `redis`. Raises NotStartedError."""
    upstream = {"model": f"openai/{model}", "api_base": f"http://127.0.0.1:{api_port}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": model, "litellm_params": upstream}],
        "litellm_settings": {"cache": True, "cache_params": {"type": "redis", "url": redis}},
    }
    file = services.folder / "litellm.yaml"
    # YAML is a superset of JSON.
    file.write_text(json.dumps(config))
    options = ("--config", str(file), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    services.run("litellm", make(), *options, "--telemetry", "False", env=ENV)
    services.wait_until(f"http://127.0.0.1:{port}/health/liveliness", START_LIMIT_S)


def check_cached(port: int, path: str, body: bytes) -> None:
    """Ask until the answer comes from its cache. Raises UnexpectedAnswerError."""
    caller = Caller(port)
    for _ in range(3):
        answer = caller.raw("POST", path, body)
    caller.close()
    if "x-litellm-cache-key" not in caller.headers:
        raise UnexpectedAnswerError(f"litellm does not cache: {answer[:500]!r}")
