"""The API under a certificate: https is spoken, refusals arrive, and browsers are told to come back by it."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.settings import ApiSettings
from sightline.cli import main
from sightline.doctor import services
from sightline.exits import CommandError, Exit
from sightline.tls import check_tls, flags, trusting
from tests.support.app import application
from tests.support.app_server import listening
from tests.support.containers import Dockerfile
from tests.support.fake_service import FakeService
from tests.support.patience import PATIENCE_S
from tests.support.tls import Certificates, certificates

DOCKERFILE = Dockerfile(Path(__file__).parents[2] / "Dockerfile")


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return certificates(tmp_path)


@asynccontextmanager
async def over_tls(made: Certificates, **api: Any) -> AsyncIterator[str]:
    """The URL of the application as `sightline api` serves it."""
    options = dict(zip(("ssl_certfile", "ssl_keyfile"), flags(settings_of(made))[1::2], strict=True))
    async with (
        application(FakeService(), **api) as app,
        listening(app, **options) as url,
    ):
        yield url


@asynccontextmanager
async def in_the_clear() -> AsyncIterator[str]:
    async with application(FakeService()) as app, listening(app) as url:
        yield url


def settings_of(made: Certificates) -> ApiSettings:
    return ApiSettings(tls_cert=made.cert, tls_key=made.key)


async def get(url: str, verify: ssl.SSLContext | bool = True) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE_S, verify=verify) as client:
        return await client.get(url)


@pytest.fixture
def other(tmp_path: Path) -> Certificates:
    """Of another authority."""
    (tmp_path / "other").mkdir()
    return certificates(tmp_path / "other")


async def test_a_client_that_knows_the_authority_is_answered_and_others_do_not_trust_it(
    made: Certificates, other: Certificates
) -> None:
    async with over_tls(made) as url:
        reply = await get(f"{url}/v1/models", ssl.create_default_context(cafile=str(made.ca)))
        with pytest.raises(httpx.ConnectError):
            await get(f"{url}/v1/models", ssl.create_default_context(cafile=str(other.ca)))
        with pytest.raises(httpx.TransportError):
            await get(url.replace("https", "http"))
    assert reply.status_code == 200
    assert "strict-transport-security" not in reply.headers


async def test_our_own_start_trusts_the_certificate_itself_whatever_host_it_is_for(
    other: Certificates, tmp_path: Path
) -> None:
    made = certificates(tmp_path, "api.example.com")
    async with over_tls(made) as url:
        assert (await get(f"{url}/health", trusting(settings_of(made)))).status_code == 200
    async with over_tls(other) as url:
        with pytest.raises(httpx.ConnectError):
            await get(f"{url}/health", trusting(settings_of(made)))


async def test_browsers_are_told_to_come_by_https_where_the_operator_says_so(made: Certificates) -> None:
    async with over_tls(made, hsts_s=31_536_000) as url:
        for path in ("/v1/models", "/nothing", "/health"):
            reply = await get(f"{url}{path}", trusting(settings_of(made)))
            assert reply.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_head_that_is_too_long_is_refused_over_tls_as_well(made: Certificates) -> None:
    context = trusting(settings_of(made))
    async with over_tls(made) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n")
        answer = await reader.readuntil(b"\r\n")
        writer.close()
    assert answer == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


@pytest.mark.parametrize("tls", [True, False])
async def test_a_container_with_a_certificate_is_not_called_ill(made: Certificates, tls: bool) -> None:
    program, *argv = json.loads(DOCKERFILE.last("api", "HEALTHCHECK").partition(" CMD ")[2])
    env = os.environ | ({"SIGHTLINE_API__TLS_CERT": str(made.cert)} if tls else {})
    served = over_tls(made) if tls else in_the_clear()
    assert program == "python"
    async with served as url:
        code = [word.replace("8000", url.rpartition(":")[2]) for word in argv]
        check = await asyncio.create_subprocess_exec(sys.executable, *code, env=env)
        assert await check.wait() == 0


async def test_a_command_says_how_a_service_under_a_certificate_is_reached(
    made: Certificates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def said(url: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, ["models", "list", "--url", url])
        return code, capsys.readouterr().err

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with over_tls(made) as url:
        strangers, clear = await said(url), await said(url.replace("https", "http"))
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
        known = await said(url)
    assert (strangers[0], clear[0]) == (Exit.UNREACHABLE, Exit.UNREACHABLE)
    assert "SSL_CERT_FILE" in strangers[1]
    assert "--url begins with https://" in clear[1]
    assert "is it running" not in strangers[1]
    assert known == (Exit.OK, "")


@pytest.mark.parametrize("tls", [True, False])
async def test_a_shell_without_the_service_s_certificate_is_not_told_to_end_the_service(
    made: Certificates, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with over_tls(made) if tls else in_the_clear() as url:
        # A service that no command names.
        monkeypatch.setattr(
            "sightline.doctor.services.LOCAL", here := f"http://127.0.0.1:{url.rpartition(':')[2]}"
        )
        settings = ApiSettings() if tls else settings_of(made)
        checks = await asyncio.to_thread(lambda: [*services.check_service(here, settings, named=False)])
    assert [(it.about, it.state, "Sightline answers" in it.said) for it in checks] == [
        ("port", "problem", True)
    ]
    assert "the environment of the service" in checks[0].fix


def test_a_certificate_that_cannot_be_used_stops_the_start(made: Certificates, tmp_path: Path) -> None:
    wrong_key = ApiSettings(tls_cert=made.cert, tls_key=made.client_key)
    empty = tmp_path / "empty.pem"
    empty.touch()
    for settings in (wrong_key, ApiSettings(tls_cert=empty, tls_key=made.key)):
        with pytest.raises(CommandError, match="SIGHTLINE_API__TLS_CERT: the certificate and its key"):
            check_tls(settings)
    check_tls(settings_of(made))
    check_tls(ApiSettings())
