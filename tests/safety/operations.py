"""What the service's own description says that it can be asked, and asking so."""

from collections.abc import Callable

import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from schemathesis import APIOperation
from schemathesis.core.result import Ok

EXAMPLES, WHOLE = 4, 300


def described(url: str) -> list[APIOperation]:
    """Every operation of the schema that is served at `url`."""
    found = []
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return found


def try_examples(test: Callable[[], None], *, whole: bool) -> None:
    """A test with what is `given` to it; the same examples each time."""
    drawn = settings(
        max_examples=WHOLE if whole else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(1)(drawn(test))()
