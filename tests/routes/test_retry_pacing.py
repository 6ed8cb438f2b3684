"""One client answers a 503 with hundreds of requests a second."""

import pytest
from starlette.datastructures import Headers

from api.server import errors
from shared.errors import InternalError, ServiceError, Unavailable
from tests.support.app import serving
from tests.support.fake_service import FakeService

JS = "@huggingface/inference/4.13.30 Node.js/22"
LOADING = Unavailable("model_loading", "It is loading.", retry_after=90, estimated_time=90.5)


@pytest.mark.parametrize(
    ("agent", "error", "held"),
    [
        (JS, LOADING, [1.0]),
        (JS, InternalError(), []),
        ("unknown/None; hf_hub/2.4.0; python/3.11", LOADING, []),
        ("", LOADING, []),
        ("", Unavailable("rate_limited", "Too many.", retry_after=60), [1.0]),
        ("", Unavailable("rate_limited", "Too many.", retry_after=59), []),
    ],
)
async def test_who_comes_back_too_early_is_held(agent: str, error: ServiceError, held: list[float]) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await errors.pace(Headers({"user-agent": agent}), error, sleep)

    assert slept == held


async def test_a_503_of_the_application_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str] = []

    async def pace(headers: Headers, error: ServiceError) -> None:
        held.append(f"{headers['user-agent']}: {error.code}")

    monkeypatch.setattr(errors, "pace", pace)
    service = FakeService()
    service.refusal = LOADING
    async with serving(service) as client:
        response = await client.post(
            "/models/sightline/tiny", json={"inputs": "What?"}, headers={"user-agent": JS}
        )

    assert (response.status_code, response.headers["content-type"]) == (503, "application/json")
    assert held == [f"{JS}: model_loading"]
