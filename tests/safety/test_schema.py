"""Requests that contradict the API's own description, drawn from it."""

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode

from tests.safety.answers import LIMIT_S, checked
from tests.safety.operations import described
from tests.support.service import Service

EXAMPLES, WHOLE = 6, 300


@pytest.fixture(scope="module")
def operations(service: Service) -> list[APIOperation]:
    """Those with anything to contradict: every text is a good part of a path."""
    found = described(service.url())
    return [operation for operation in found if operation.body or operation.query or operation.headers]


def test_no_request_against_the_description_breaks_the_service(
    service: Service, operations: list[APIOperation], whole: bool
) -> None:
    assert len(operations) >= 15

    def answered(case: Case) -> None:
        reply = case.call(base_url=service.url(), timeout=LIMIT_S)
        checked(reply.status_code, (reply.headers.get("content-type") or [""])[0], reply.content)

    drawn = settings(
        max_examples=WHOLE if whole else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for operation in operations:
        case = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        seed(1)(drawn(given(case=case)(answered)))()
