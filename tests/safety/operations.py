"""What the service's own description says that it can be asked."""

import schemathesis
from schemathesis import APIOperation
from schemathesis.core.result import Ok


def described(url: str) -> list[APIOperation]:
    """Every operation of the schema that is served at `url`."""
    found = []
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return found
