"""`sightline webhooks` against the service on a socket, over the real store."""

import json
from collections.abc import AsyncIterator

import pytest

from shared.webhooks import key_of
from sightline.exits import Exit
from tests.routes.conftest import Deployment
from tests.routes.test_sightline_jobs import Terminal
from tests.routes.test_webhooks import told
from tests.support.app_server import listening

URL = "https://shop.example/told"


@pytest.fixture
async def terminal(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Terminal]:
    deployment.worker.beat()
    async with listening(deployment.app) as url:
        yield Terminal(deployment, url, capsys)


async def made(terminal: Terminal, *more: str) -> str:
    _, out, _ = await terminal.type("webhooks", "create", URL, "--json", *more)
    return str(json.loads(out)["id"])


async def test_a_webhook_s_secret_is_printed_alone_and_listed_nowhere(terminal: Terminal) -> None:
    code, out, err = await terminal.type("webhooks", "create", URL, "--events", "job.*,batch.failed")
    _, listed, _ = await terminal.type("webhooks", "list")
    _, renewed, _ = await terminal.type("webhooks", "rotate", err.split()[1], "--grace", "60")

    assert (code, len(key_of(out.strip()))) == (Exit.OK, 24)
    assert listed.splitlines()[1].split()[1:] == [URL, "job.*,batch.failed", "on"]
    assert out.strip() not in listed + err
    assert renewed.startswith("whsec_")
    assert renewed != out


async def test_a_test_and_a_replay_are_sent_and_their_calls_shown(terminal: Terminal) -> None:
    worker = terminal.deployment.worker
    job = await terminal.submit()
    worker.succeed(worker.take(), "A cat.")
    hook = await made(terminal, "--description", "Late")
    _, sent, _ = await terminal.type("webhooks", "test", hook)
    told(terminal.deployment)
    event = f"msg_{job.removeprefix('job_')}_ended"
    code, again, _ = await terminal.type("webhooks", "replay", hook, event)
    told(terminal.deployment, 500)
    _, calls, _ = await terminal.type("webhooks", "deliveries", hook)

    assert (code, "webhook.test" in sent, again.split()[0]) == (Exit.OK, True, event)
    assert [line.split()[2:4] for line in calls.splitlines()[1:]] == [
        ["job.succeeded", event],
        ["webhook.test", sent.split()[0]],
    ]


async def test_what_is_not_there_is_said(terminal: Terminal) -> None:
    hook = await made(terminal)
    gone = await terminal.type("webhooks", "delete", hook)
    again = await terminal.type("webhooks", "deliveries", hook)

    _, out, _ = await terminal.type("webhooks", "delete", await made(terminal), "--json")

    assert gone == (Exit.OK, f"{hook} is deleted\n", "")
    assert json.loads(out)["deleted"] is True
    assert again[0] == Exit.REFUSED
    assert again[2] == "sightline: The service refused (404): There is no such webhook.\n"


async def test_a_webhook_that_is_off_says_since_when_and_why(terminal: Terminal) -> None:
    hook = await made(terminal)
    await terminal.type("webhooks", "test", hook)
    told(terminal.deployment, 410)
    _, listed, _ = await terminal.type("webhooks", "list")

    assert "off since 20" in listed
    assert "(gone)" in listed
