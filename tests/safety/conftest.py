"""One service for all these tests, in a network of its own where this machine lends one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.safety.answers import Stranger
from tests.safety.bystander import bystander
from tests.safety.internet import Internet, internet
from tests.safety.memory import LIMIT_MB, Watch
from tests.safety.network import NoNetworkError, own_network
from tests.safety.resolver import resolver
from tests.safety.urls import TLS_NAMES
from tests.support.service import COURIER, ROOT, Service, running_service

TINY, ECHO, UNSERVED = "sightline/tiny", "test/echo", "test/unserved"
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 8

[[models]]
id = "{TINY}"
source = "{ROOT / "models/tiny"}"
dtype = "float32"
engine = "continuous"
rows = 4
max_new_tokens = 16

[[models]]
id = "{UNSERVED}"
engine = "echo"
"""
RUNNING = ("api", COURIER, ECHO, TINY)
START_LIMIT_S = 90
# Webhooks are called again soon.
ENV = {
    "SIGHTLINE_WEBHOOK__DELAYS_S": "0.2",
    "SIGHTLINE_API__UPLOAD_LIMIT_S": "10",
    "SIGHTLINE_API__FILE_LIMIT_MB": "25",
    "SIGHTLINE_API__BODY_LIMIT_MB": "25",
    # Less than a process may grow by here, and short, since some files take all the time there is.
    "SIGHTLINE_PICTURES__DECODE_MEMORY_MB": "300",
    "SIGHTLINE_DOCUMENTS__DECODE_MEMORY_MB": "250",
    "SIGHTLINE_DOCUMENTS__DECODE_LIMIT_S": "2",
    "SIGHTLINE_VIDEOS__DECODE_MEMORY_MB": "250",
    "SIGHTLINE_VIDEOS__DECODE_LIMIT_S": "10",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="send the whole corpus of tests/safety")


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--whole", default=False))


@dataclass(frozen=True)
class World:
    """`internet` is None where the network is the machine's own; `why` says then why."""

    service: Service
    internet: Internet | None
    why: str = ""


# No longer than these tests run: it moves this process into a network of its own.
@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority = tmp_path_factory.mktemp("safety") / "authority.pem"
    with ExitStack() as stack:
        there, why = _internet(stack, authority)
        env = ENV | ({"SSL_CERT_FILE": str(authority)} if there else {})
        service = stack.enter_context(running_service(MODELS, env))
        service.ready(*RUNNING, deadline_s=START_LIMIT_S)
        yield World(service, there, why)


def _internet(stack: ExitStack, authority: Path) -> tuple[Internet | None, str]:
    try:
        stack.enter_context(own_network())
    except NoNetworkError as reason:
        return None, str(reason)
    stack.enter_context(resolver())
    return stack.enter_context(internet(TLS_NAMES, authority)), ""


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    """While a module's strangers are at it, somebody else is served, and nothing dies or grows."""
    pids = {name: world.service.processes[name].pid for name in RUNNING}
    watch = Watch(pids)
    with bystander(world.service.url(), f"/models/{ECHO}") as somebody:
        yield world.service
    assert not somebody.trouble
    assert somebody.answers
    assert {name: world.service.processes[name].pid for name in RUNNING} == pids
    assert all(world.service.processes[name].alive for name in RUNNING)
    assert {name: mb for name, mb in watch.growth_mb().items() if mb > LIMIT_MB} == {}


@pytest.fixture(scope="module")
def stranger(service: Service) -> Iterator[Stranger]:
    with Stranger(service.url()) as client:
        yield client
