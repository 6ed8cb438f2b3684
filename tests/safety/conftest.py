"""One service for all these tests."""

from collections.abc import Iterator

import pytest

from tests.safety.answers import Stranger
from tests.safety.bystander import bystander
from tests.safety.memory import LIMIT_MB, Watch
from tests.support.service import COURIER, Service, running_service

ECHO, UNSERVED = "test/echo", "test/unserved"
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 8

[[models]]
id = "{UNSERVED}"
engine = "echo"
"""
RUNNING = ("api", COURIER, ECHO)
START_LIMIT_S = 90
ENV = {
    "SIGHTLINE_API__UPLOAD_LIMIT_S": "10",
    "SIGHTLINE_API__FILE_LIMIT_MB": "25",
    "SIGHTLINE_API__BODY_LIMIT_MB": "25",
    # Less than a process may grow by here, and short, since some files take all the time there is.
    "SIGHTLINE_PICTURES__DECODE_MEMORY_MB": "300",
    "SIGHTLINE_DOCUMENTS__DECODE_MEMORY_MB": "250",
    "SIGHTLINE_DOCUMENTS__DECODE_LIMIT_S": "2",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="send the whole corpus of tests/safety")


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--whole", default=False))


@pytest.fixture(scope="package")
def _shared() -> Iterator[Service]:
    with running_service(MODELS, ENV) as service:
        service.ready(*RUNNING, deadline_s=START_LIMIT_S)
        yield service


@pytest.fixture(scope="module")
def service(_shared: Service) -> Iterator[Service]:
    """While a module's strangers are at it, somebody else is served, and nothing dies or grows."""
    pids = {name: _shared.processes[name].pid for name in RUNNING}
    watch = Watch(pids)
    with bystander(_shared.url(), f"/models/{ECHO}") as somebody:
        yield _shared
    assert not somebody.trouble
    assert somebody.answers
    assert {name: _shared.processes[name].pid for name in RUNNING} == pids
    assert all(_shared.processes[name].alive for name in RUNNING)
    assert {name: mb for name, mb in watch.growth_mb().items() if mb > LIMIT_MB} == {}


@pytest.fixture(scope="module")
def stranger(service: Service) -> Iterator[Stranger]:
    with Stranger(service.url()) as client:
        yield client
