"""A container engine that answers on this machine, and `docker-compose.yml` played on it."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping

from tests.support.containers import variables
from tests.support.ports import free_port
from tests.support.service import ROOT

EXAMPLE = ROOT / ".env.example"
PROJECT = "sightline-trial"
COMPOSES = {
    "docker": (("docker", "compose"), ("docker-compose",)),
    "podman": (("podman", "compose"), ("podman-compose",)),
}
FOR_BUILDING = ("TORCH_INDEX", "PIP_INDEX", "MIRROR_CA")


class NoEngineError(Exception):
    """The containers cannot be run here; the message says why."""


class Engine:
    """`call` is one of its own commands, `compose` one on the services of a project that is only tried."""

    def __init__(self, program: str, compose: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.program = program
        self.env = env
        files = ("--env-file", str(EXAMPLE), "-f", str(ROOT / "docker-compose.yml"))
        self.compose_words = (*compose, "-p", PROJECT, *files, "--profile", "cpu")

    def call(self, *words: str) -> str:
        """What it prints. Raises CalledProcessError."""
        return _output((self.program, *words), self.env)

    def compose(self, *words: str) -> None:
        """Raises CalledProcessError."""
        subprocess.run([*self.compose_words, *words], cwd=ROOT, env=dict(self.env), check=True)

    def containers(self, service: str) -> list[str]:
        labels = (f"project={PROJECT}", f"service={service}")
        words = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
        return self.call("ps", "--all", "--quiet", *words).split()

    def size_mb(self, image: str) -> float:
        return int(self.call("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def found() -> Engine:
    """Raises NoEngineError."""
    env = _environment()
    answering = [name for name in COMPOSES if shutil.which(name) and _works((name, "ps"), env)]
    if not answering:
        raise NoEngineError("neither docker nor podman answers here")
    for name, compose in ((n, c) for n in answering for c in COMPOSES[n]):
        if shutil.which(compose[0]) and _works((*compose, "version"), env):
            if not env.get("COMPOSE_SIGHTLINE_TORCH_INDEX"):
                raise NoEngineError("COMPOSE_SIGHTLINE_TORCH_INDEX, which .env.example explains, is not set")
            return Engine(name, compose, env)
    raise NoEngineError(f"{answering[0]} has no compose command here")


def _environment() -> dict[str, str]:
    """With secrets and a port of its own; how images are built is said by `.env` or the shell."""
    ours = ("SIGHTLINE_", "COMPOSE_SIGHTLINE_", "HF_TOKEN")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    written = variables(ROOT / ".env") if (ROOT / ".env").exists() else {}
    for name in (f"COMPOSE_SIGHTLINE_{row}" for row in FOR_BUILDING):
        env[name] = os.environ.get(name) or written.get(name, "")
    for name in ("COMPOSE_SIGHTLINE_REDIS_PASSWORD", "SIGHTLINE_API__ADMIN_KEY", "SIGHTLINE_METRICS__TOKEN"):
        env[name] = secrets.token_hex(32)
    return env | {"COMPOSE_SIGHTLINE_API_PORT": str(free_port())}


def _works(argv: tuple[str, ...], env: Mapping[str, str]) -> bool:
    return subprocess.run(argv, env=dict(env), capture_output=True).returncode == 0


def _output(argv: tuple[str, ...], env: Mapping[str, str]) -> str:
    return subprocess.run(argv, env=dict(env), capture_output=True, text=True, check=True).stdout
