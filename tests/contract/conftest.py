"""One service for all clients: real processes, as an operator runs them, and Node.js for those of JavaScript.

What needs `node` bears the mark `node`: `make test` leaves it out, `make test-clients` runs it.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.clients import Api
from tests.support.keys import ADMIN
from tests.support.node import Node, running_node
from tests.support.openai_clients import KINDS, openai_client
from tests.support.service import COURIER, TINY_ROW, Service, running_service, watched

TINY, ECHO, UNSERVED, WAKING = "sightline/tiny", "test/echo", "test/unserved", "test/waking"
ALWAYS = ("api", COURIER, ECHO, TINY)
KEYED = "api-keyed"
"""An API process that asks for keys and lets synchronous callers wait three seconds; see `keyed`."""

FAILING, STALLING = "please fail", "please hang"
"""Questions holding these end in 500 attempts_exhausted, or have no answer until their callers leave."""
LONG = " ".join(f"word{n}" for n in range(900))
"""A question whose answer takes eighteen seconds: time enough to kill the worker that gives it."""

MODELS = f"""{TINY_ROW}
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4
max_new_tokens = 1000
options = {{ step_s = 0.02, fail_on = "{FAILING}", stall_on = "{STALLING}" }}

[[models]]
id = "{UNSERVED}"
engine = "echo"

[[models]]
id = "{WAKING}"
engine = "echo"
"""
ENV = {
    "SIGHTLINE_QUEUE__LEASE_S": "5",
    "SIGHTLINE_QUEUE__RENEW_S": "0.5",
    "SIGHTLINE_QUEUE__RESCUE_S": "0.2",
    "SIGHTLINE_QUEUE__DRAIN_S": "1",
    # The first failure, and the first death of a worker, is told: what clients make of it is asked here.
    "SIGHTLINE_QUEUE__MAX_FAILURES": "1",
    "SIGHTLINE_QUEUE__MAX_DEATHS": "1",
    # So much later the repeat of a caller who went may come.
    "SIGHTLINE_API__LEAVE_GRACE_S": "4",
    # Whoever waits is sent comments, which every client has to read over.
    "SIGHTLINE_API__KEEPALIVE_S": "0.5",
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    # As long as a machine may stand still, and longer.
    "SIGHTLINE_FETCH__LIMIT_S": "60",
    "SIGHTLINE_PICTURES__DECODE_LIMIT_S": "60",
    "SIGHTLINE_SOUNDS__DECODE_LIMIT_S": "60",
}
STRICT = {"SIGHTLINE_API__ADMIN_KEY": ADMIN, "SIGHTLINE_API__SYNC_LIMIT_S": "3"}


# No longer than these tests run: processes with nothing to do take time from whoever has.
@pytest.fixture(scope="package")
def _shared() -> Iterator[Service]:
    with running_service(MODELS, ENV) as service:
        service.add_api(KEYED, STRICT)
        service.start(*ALWAYS)
        service.ready(*ALWAYS, deadline_s=100)
        yield service


@pytest.fixture
def service(_shared: Service) -> Iterator[Service]:
    """Everything in ALWAYS runs; of UNSERVED and WAKING nothing does."""
    with watched(_shared, ALWAYS):
        yield _shared


@pytest.fixture
def url(service: Service) -> str:
    """The service's root."""
    return service.url()


@pytest.fixture
def drained(url: str) -> Iterator[str]:
    """A model that takes no new jobs."""
    with Api(url) as api:
        api.post(f"/v1/admin/models/{UNSERVED}/drain").raise_for_status()
        yield UNSERVED
        api.post(f"/v1/admin/models/{UNSERVED}/resume").raise_for_status()


@pytest.fixture
def keyed(service: Service) -> str:
    """The root of the API process that asks for keys; ADMIN (tests/support/keys.py) is one."""
    service.ready(KEYED)
    return service.url(KEYED)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    with running_node() as started:
        yield started


@pytest.fixture(params=KINDS)
def client(url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """OpenAI's client in Python, the sync and the async one."""
    with openai_client(request.param, url) as made:
        yield made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that OpenAI's client in Python would have waited: it asks again at once."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("openai._base_client.time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr("openai._base_client.anyio", SimpleNamespace(sleep=sleep))
    return waited
