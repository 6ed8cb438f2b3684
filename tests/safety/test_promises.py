"""What the API's own description promises of each call is what a caller who keeps to it gets."""

import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

from tests.safety.answers import LIMIT_S
from tests.safety.conftest import ECHO
from tests.safety.operations import described, try_examples
from tests.support.service import Service

HELD = (content_type_conformance, response_headers_conformance, response_schema_conformance)
SERVED, SPARE = "/v1/admin/models", "test/spare"
"""Models are paused, drained and removed there: one that no other test asks."""
OWNED = ("/v1/jobs", "/v1/responses", "/v1/files", "/v1/batches", SERVED)


@pytest.fixture(scope="module")
def known(service: Service) -> dict[str, list[str]]:
    """Things that exist, by the beginning of their paths."""
    with httpx.Client(base_url=service.url(), timeout=60) as client:
        asked = {"model": ECHO, "input": {"prompt": "What is known?"}, "metadata": {"a": "b"}}
        job = client.post("/v1/jobs", json=asked, headers={"prefer": "wait=30"}).json()["id"]
        reply = client.post("/v1/responses", json={"model": ECHO, "input": "What is known?"}).json()["id"]
        line = {"custom_id": "1", "method": "POST", "url": "/v1/responses"}
        row = json.dumps(line | {"body": {"model": ECHO, "input": "a"}}).encode()
        upload = {"file": ("in.jsonl", row)}
        file = client.post("/v1/files", data={"purpose": "batch"}, files=upload).json()["id"]
        body = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
        batch = client.post("/v1/batches", json=body).json()["id"]
        client.post(SERVED, json={"id": SPARE, "engine": "echo"}).raise_for_status()
    return dict(zip(OWNED, ([job], [reply], [file], [batch], [SPARE]), strict=True))


@pytest.fixture(scope="module")
def operations(service: Service) -> list[APIOperation]:
    """All of them; what deletes things comes last."""
    return sorted(described(service.url()), key=lambda operation: operation.method == "delete")


def test_no_call_that_keeps_to_the_description_is_answered_as_it_does_not_say(
    service: Service, operations: list[APIOperation], known: dict[str, list[str]], whole: bool
) -> None:
    assert len(operations) >= 50
    for operation in operations:

        def answered(case: Case, known_one: bool) -> None:
            _aim(case, known, known_one=known_one)
            reply = case.call(base_url=service.url(), timeout=LIMIT_S)
            statuses = case.operation.responses.status_codes
            assert str(reply.status_code) in statuses, f"{reply.status_code}: {reply.text}"
            assert reply.status_code < 500 or reply.status_code in (503, 504), reply.text
            case.validate_response(reply, checks=list(HELD))
            if case.operation.path == SERVED and reply.status_code == 201:
                removed = httpx.delete(
                    f"{service.url()}{SERVED}/{quote(reply.json()['id'])}", timeout=LIMIT_S
                )
                assert removed.status_code == 204, removed.text

        case = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        try_examples(given(case=case, known_one=st.booleans())(answered), whole=whole)


def _aim(case: Case, known: dict[str, list[str]], *, known_one: bool) -> None:
    """At what exists, half of the time: of what is drawn at random nothing does."""
    path = case.operation.path
    if path == "/v1/live":
        # It lasts as long as it is asked to.
        case.query["seconds"] = 1
    if known_one and "id" in case.path_parameters:
        owned = next((name for name in OWNED if path.startswith(name)), None)
        case.path_parameters["id"] = known[owned][0] if owned else ECHO
    if known_one and isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = ECHO
