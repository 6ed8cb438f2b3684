"""Keys as people meet them: Hugging Face's client's own exceptions, and `sightline keys`."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from shared.settings import CLIENT_KEY
from sightline.cli import main
from sightline.exits import Exit
from tests.routes.conftest import Deployment
from tests.support.app_server import listening
from tests.support.keys import ADMIN, KEYED, made

pytestmark = pytest.mark.parametrize("deployment", [KEYED], indirect=True)


@pytest.fixture
async def url(deployment: Deployment) -> AsyncIterator[str]:
    deployment.worker.beat()
    async with listening(deployment.app) as found:
        yield found


@dataclass
class Terminal:
    """Where `sightline keys` is typed, by who has the key in the environment."""

    url: str
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    async def type(self, key: str, *argv: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        self.monkeypatch.setenv(CLIENT_KEY, key)
        code = await asyncio.to_thread(main, [*argv, "--url", self.url])
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def terminal(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(url, monkeypatch, capsys)


async def test_a_key_is_made_used_rotated_listed_and_revoked_from_a_terminal(terminal: Terminal) -> None:
    asked = ("--name", "Example Ltd", "--caller", "example", "--days", "7", "--per-minute", "60")
    code, secret, said = await terminal.type(ADMIN, "keys", "create", *asked)
    assert (code, secret.count("\n")) == (Exit.OK, 1)
    assert "once" in said
    secret = secret.strip()
    id = said.split()[1]

    assert (await terminal.type(secret, "jobs", "list"))[0] == Exit.OK
    code, rotated, _ = await terminal.type(ADMIN, "keys", "rotate", id, "--grace", "0")
    assert code == Exit.OK
    assert (await terminal.type(rotated.strip(), "jobs", "list"))[0] == Exit.OK
    code, table, _ = await terminal.type(ADMIN, "keys", "list")
    assert table.splitlines()[1].split()[:6] == [id, "Example", "Ltd", "example", "submit,read", "60"]
    assert secret not in table
    assert "until 20" in table
    assert (await terminal.type(ADMIN, "keys", "revoke", id))[0] == Exit.OK
    assert " revoked 20" in (await terminal.type(ADMIN, "keys", "list"))[1]
    code, table, _ = await terminal.type(ADMIN, "keys", "list", "--json")
    assert json.loads(table)["data"][0]["revoked_at"] is not None


async def test_an_empty_caller_on_the_command_line_makes_no_key(terminal: Terminal) -> None:
    code, out, said = await terminal.type(ADMIN, "keys", "create", "--name", "x", "--caller", "")
    assert (code, out) == (Exit.REFUSED, "")
    assert "`caller`" in said
    assert len((await terminal.type(ADMIN, "keys", "list"))[1].splitlines()) == 1


async def test_who_may_not_make_keys_reads_why_without_a_key(
    deployment: Deployment, terminal: Terminal
) -> None:
    secret = (await made(deployment.app, "one"))["secret"]
    for key, words in ((secret, "scope `admin`"), ("", "asks for an API key"), ("sl_no", "wrong")):
        code, out, said = await terminal.type(key, "keys", "list")
        assert (code, out) == (Exit.REFUSED, "")
        assert words in said
        assert not key or key not in said
    code, _, said = await terminal.type("schlüssel", "jobs", "list")
    assert (code, "schlüssel" in said) == (Exit.USAGE, False)


async def test_a_keys_webhook_is_set_from_a_terminal(terminal: Terminal, deployment: Deployment) -> None:
    key = (await made(deployment.app, "shop"))["id"]
    typed = [
        await terminal.type(ADMIN, "keys", "webhook", key, "https://shop.example/", "--events", "job.failed"),
        await terminal.type(ADMIN, "keys", "webhook", key, "https://moved.example/"),
        await terminal.type(ADMIN, "keys", "rotate-webhook", key),
        await terminal.type(ADMIN, "keys", "list"),
        await terminal.type(ADMIN, "keys", "delete-webhook", key),
    ]
    assert [code for code, _, _ in typed] == [Exit.OK] * 5
    first, moved, rotated, listed, deleted = [out for _, out, _ in typed]
    assert first.startswith("whsec_")
    assert rotated.startswith("whsec_")
    assert first != rotated
    assert "its secret stays" in moved
    assert "https://moved.example/" in listed
    assert "has no webhook" in deleted
