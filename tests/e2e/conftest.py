"""One service for all these tests: starting it costs more than most of them."""

from collections.abc import Iterator

import pytest

from tests.support.clients import Api
from tests.support.service import COURIER, ROOT, Service, running_service, watched

TINY, ECHO, SLOW = "sightline/tiny", "test/echo", "test/slow"
ALWAYS = ("api", "api-2", COURIER, ECHO, SLOW, TINY)

MODELS = f"""
[[models]]
id = "{TINY}"
source = "{ROOT / "models/tiny"}"
engine = "continuous"
rows = 4
max_new_tokens = 48

[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4

[[models]]
id = "{SLOW}"
engine = "echo"
rows = 1
options = {{ step_s = 0.1 }}

[[models]]
id = "test/late"
engine = "echo"
options = {{ load_s = 5 }}

[[models]]
id = "test/broken"
engine = "echo"
options = {{ fail = "there are no such weights" }}

[[models]]
id = "test/unserved"
engine = "echo"
"""
# Short enough that a killed worker's run is seen again soon, longer than a machine may stand still.
ENV = {
    "SIGHTLINE_QUEUE__LEASE_S": "5",
    "SIGHTLINE_QUEUE__RENEW_S": "0.5",
    "SIGHTLINE_QUEUE__RESCUE_S": "0.2",
    "SIGHTLINE_QUEUE__DRAIN_S": "1",
    "SIGHTLINE_API__LEAVE_GRACE_S": "0.5",
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    # A killed courier's call comes again after this and 5 s.
    "SIGHTLINE_WEBHOOK__LIMIT_S": "5",
    "SIGHTLINE_WEBHOOK__DELAYS_S": "0.2,0.2",
}


@pytest.fixture(scope="session")
def _shared() -> Iterator[Service]:
    with running_service(MODELS, ENV) as service:
        service.start(*ALWAYS)
        yield service


@pytest.fixture
def service(_shared: Service) -> Iterator[Service]:
    """Everything in ALWAYS runs, whatever the test before has killed."""
    with watched(_shared, ALWAYS):
        yield _shared


@pytest.fixture
def api(service: Service) -> Iterator[Api]:
    with Api(service.url()) as client:
        yield client
