"""nginx as docs/transport.md sets it up: it keeps slow senders out and lets streams through."""

import asyncio
import os
import re
import shutil
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.routes.conftest import Deployment
from tests.support.app_server import listening
from tests.support.clients import until, until_async
from tests.support.keys import KEYED, bearer, made
from tests.support.ports import free_port
from tests.support.processes import Process

PAGE = Path(__file__).parents[2] / "docs" / "transport.md"
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
LIMIT_S = 60
PATIENT = {"api": KEYED["api"] | {"leave_grace_s": 3600}}
CHAT: dict[str, Any] = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What?"}]}

pytestmark = [
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
    pytest.mark.parametrize("deployment", [PATIENT], indirect=True, ids=["keyed"]),
]


def configuration(folder: Path, api: int, port: int) -> str:
    """The page's, on other ports, with time limits of a second."""
    (block,) = re.findall(r"```text\n(upstream .*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for documented, here in (("127.0.0.1:8000", f"127.0.0.1:{api}"), ("listen 8080", f"listen {port}")):
        assert documented in block
        block = block.replace(documented, here)
    block, limits = re.subn(r"(client_\w+_timeout) \d+s", r"\1 1s", block)
    assert limits == 2
    temporary = "".join(
        f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {temporary} {block} }}"


@pytest.fixture
async def proxy(deployment: Deployment, tmp_path: Path) -> AsyncIterator[int]:
    """The port of an nginx in front of the application."""
    port, file = free_port(), tmp_path / "nginx.conf"
    async with listening(deployment.app) as url:
        file.write_text(configuration(tmp_path, httpx.URL(url).port or 0, port), "utf-8")
        # As root nginx would work as another user, who may not enter the folder.
        command = ["nginx", "-c", str(file), "-e", str(tmp_path / "errors")]
        more = ["-g", "user root;"] if os.getuid() == 0 else []
        nginx = Process((*command, *more), os.environ, tmp_path / "log")
        nginx.start()
        try:
            await asyncio.to_thread(until, lambda: _listens(port))
            yield port
        finally:
            nginx.end()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize(
    "beginning",
    [HEAD, b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"],
    ids=["head", "body"],
)
async def test_a_request_that_never_ends_is_ended_by_the_proxy(proxy: int, beginning: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(beginning)
    async with asyncio.timeout(LIMIT_S):
        rest = await reader.read()
    writer.close()
    assert rest == b"" or b" 408 " in rest.partition(b"\r\n")[0]


async def test_text_passes_the_proxy_while_the_model_still_writes(proxy: int, deployment: Deployment) -> None:
    deployment.worker.beat()
    secret, done = (await made(deployment.app, "a"))["secret"], threading.Event()
    ended = False

    def work() -> None:
        until(lambda: not deployment.worker.idle())
        claim = deployment.worker.take()
        deployment.worker.say(claim, "A cat")
        assert done.wait(LIMIT_S)
        deployment.worker.succeed(claim, "A cat.")

    worker = asyncio.create_task(asyncio.to_thread(work))
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy}", headers=bearer(secret)) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, timeout=LIMIT_S) as reply,
    ):
        async for line in reply.aiter_lines():
            if "A cat" in line:
                done.set()
            ended = ended or line == "data: [DONE]"
    assert ended
    await worker


async def test_stop_behind_the_proxy_frees_the_slot(proxy: int, deployment: Deployment) -> None:
    worker = deployment.worker
    worker.beat()
    secret = (await made(deployment.app, "a"))["secret"]

    async def work() -> None:
        worker.say(await worker.taken(), "A cat")

    working = asyncio.create_task(work())
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy}", headers=bearer(secret)) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, timeout=LIMIT_S) as reply,
    ):
        await working
        async for line in reply.aiter_lines():
            if "A cat" in line:
                break

    async def ended() -> bool:
        return not worker.store.client.zcard("sl9:deadlines")

    await until_async(ended)


async def test_a_caller_behind_the_proxy_is_no_local_one(proxy: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy}") as client:
        reply = await client.post("/v1/chat/completions", json=CHAT)
    assert reply.status_code == 401
