"""Requests that contradict the API's own description, drawn from it."""

import pytest
from hypothesis import given
from schemathesis import APIOperation, Case, GenerationMode

from tests.safety.answers import LIMIT_S, checked
from tests.safety.operations import described, try_examples
from tests.support.openapi import operations
from tests.support.service import Service

# With anything to contradict: every text is a good part of a path.
TOLD = [
    f"{method.upper()} {path}"
    for method, path, operation in operations()
    if "requestBody" in operation or any(field["in"] != "path" for field in operation.get("parameters", []))
]


@pytest.fixture(scope="module")
def by_label(service: Service) -> dict[str, APIOperation]:
    return {operation.label: operation for operation in described(service.url())}


@pytest.mark.parametrize("label", TOLD)
def test_no_request_against_the_description_breaks_the_service(
    service: Service, by_label: dict[str, APIOperation], label: str, whole: bool
) -> None:
    def answered(case: Case) -> None:
        reply = case.call(base_url=service.url(), timeout=LIMIT_S)
        checked(reply.status_code, (reply.headers.get("content-type") or [""])[0], reply.content)

    case = by_label[label].as_strategy(generation_mode=GenerationMode.NEGATIVE)
    try_examples(given(case=case)(answered), whole=whole)


def test_most_of_what_the_service_tells_can_be_contradicted() -> None:
    assert len(TOLD) >= 15
