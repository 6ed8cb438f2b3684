"""`sightline doctor` asks a service that runs how it is, and the object store whether it is there."""

from typing import Any

import httpx
import pytest

from shared.settings import CLIENT_KEY, ApiSettings, BlobSettings
from sightline.doctor import machine, running
from sightline.doctor.check import State
from sightline.doctor.running import Api

HEALTHY = {"status": "ok", "store": "reachable", "blobs": {"kind": "folder", "state": "reachable"}}


@pytest.mark.parametrize(
    ("health", "told", "expected"),
    [
        ({}, [], {}),
        ({}, None, {"service": "warning"}),
        ({"store": "unreachable"}, None, {"service": "problem"}),
        ({"store": "read_only"}, None, {"service": "problem"}),
        ({"store": "nearly_full"}, [], {"service": "problem"}),
        ({"blobs": {"kind": "s3", "state": "unreachable"}}, [], {"pictures": "problem"}),
        ({"blobs": {"kind": "folder", "state": "read_only"}}, [], {"pictures": "problem"}),
    ],
)
def test_a_service_that_runs_without_its_stores_is_not_well(
    health: dict[str, Any], told: list[Any] | None, expected: dict[str, State]
) -> None:
    found = {check.about: check.state for check in running.checks(HEALTHY | health, told)}
    assert found == expected


def test_another_program_on_the_port_is_not_sent_the_operator_s_key() -> None:
    asked: list[httpx.Request] = []

    def another(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"status": "up"})

    with Api(ApiSettings.model_validate({"admin_key": "k" * 32}), "127.0.0.1", 8000) as api:
        api._transport = httpx.MockTransport(another)
        assert api.health() is None
    assert [(request.url.path, request.headers.get("authorization")) for request in asked] == [
        ("/health", None)
    ]


@pytest.mark.parametrize(("reached", "state"), [(True, "ok"), (False, "problem")])
def test_an_object_store_is_well_where_it_lets_us_look_into_it(
    monkeypatch: pytest.MonkeyPatch, reached: bool, state: State
) -> None:
    """It asks in its own thread: one of an asynchronous call aborts a process that ends before it."""

    def listed(_: object) -> None:
        if not reached:
            raise OSError("no route to host")

    monkeypatch.setattr("obstore.list_with_delimiter", listed)
    monkeypatch.delattr("obstore.list_with_delimiter_async")
    (found,) = machine.check_blobs(BlobSettings(url="s3://a-bucket/a-prefix"))
    assert found.state == state


@pytest.mark.parametrize(("key", "fleet"), [("k" * 32, []), ("of a customer", None), (None, None)])
def test_a_service_with_keys_is_asked_with_the_caller_s_and_known_to_have_them(
    monkeypatch: pytest.MonkeyPatch, key: str | None, fleet: list[Any] | None
) -> None:
    def keyed(request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("authorization")
        allowed = sent == f"Bearer {'k' * 32}"
        return httpx.Response(
            200 if allowed else 403 if sent else 401, json={"models": []} if allowed else {}
        )

    monkeypatch.setenv(CLIENT_KEY, key or "")
    with Api(ApiSettings(), "127.0.0.1", 8000) as api:
        api._transport = httpx.MockTransport(keyed)
        assert (api.fleet(), api.keyed()) == (fleet, True)
    (access,) = machine.check_access(ApiSettings(), "127.0.0.1", keyed=True)
    assert access.said == "the API asks for keys"
