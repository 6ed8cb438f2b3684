"""How long the machine runs: the same little each time, or long and random for who asks for it."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase

COMMON = settings(
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

settings.register_profile("quick", COMMON, derandomize=True, max_examples=16, stateful_step_count=60)
settings.register_profile(
    "nightly",
    COMMON,
    derandomize=False,
    # A profile without dice keeps nothing, and what is made from it neither.
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
    max_examples=2000,
    stateful_step_count=100,
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    """Where nobody asked for another: this process has other tests, too."""
    before = settings.get_current_profile_name()
    if before == "patient":
        settings.load_profile("quick")
    yield
    settings.load_profile(before)
