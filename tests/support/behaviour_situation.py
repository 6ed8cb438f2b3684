"""The stage on which a row of docs/reference/behaviour.toml is walked."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from shared.store.claims import Claim
from tests.support.behaviour import Row
from tests.support.scripted_worker import ScriptedWorker

MODEL, QUESTION, ANSWER = "sightline/tiny", "What is this?", "A cat."
NOBODY = "job_" + "0" * 32
OWNED = ("/v1/jobs", "/v1/responses", "/v1/files", "/v1/batches", "/v1/admin/keys")
BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


@dataclass
class Situation:
    """A client of the started service, the worker in the test's hand, and the row that is being walked.

    `during` runs while the row's call is made. `known` is the job, response, file, batch or API key that the
    row is about; `secrets` are the API keys by the page's names.
    """

    client: httpx.AsyncClient
    worker: ScriptedWorker
    row: Row
    picture: bytes
    known: str = NOBODY
    secrets: dict[str, str] = field(default_factory=dict)
    during: list["asyncio.Task[None]"] = field(default_factory=list)

    async def send(self, text: str = QUESTION) -> httpx.Response:
        """Make the row's call; `text` is what it asks."""
        row = self.row
        own = row.path.startswith(OWNED)
        path = row.path.replace("{id}", self.known if own else MODEL) + row.query
        headers = {"content-type": "application/json"} | row.request_headers
        for name, secret in self.secrets.items():
            headers = {header: value.replace(name, secret) for header, value in headers.items()}
        content = json.dumps(question(row.path, text) | row.members).encode()
        if headers["content-type"].startswith("image/"):
            content = self.picture
        if (row.method, row.path) == ("POST", "/v1/files"):
            return await self.client.post(
                row.path, files={"file": b"{}"}, data={"purpose": "batch"} | row.members
            )
        if (row.method, row.path) == ("POST", "/v1/batches"):
            content = json.dumps({"input_file_id": self.known} | BATCH | row.members).encode()
        return await self.client.request(
            row.method, path, headers=headers, content=content if row.method in ("POST", "PUT") else None
        )

    def send_first(self) -> "asyncio.Task[httpx.Response]":
        """Another caller asks the same, with nothing around it."""
        bare = replace(self, row=replace(self.row, said=()))
        return asyncio.create_task(bare.send())

    async def submit(self) -> None:
        """A job of the row's question, named `known`."""
        reply = await self.client.post("/v1/jobs", json=question("/v1/jobs"))
        self.known = reply.json()["id"]

    def meanwhile(self, work: Callable[["Situation"], Coroutine[Any, Any, None]]) -> None:
        self.during.append(asyncio.create_task(work(self)))

    async def waiting(self) -> None:
        """Until something waits in the line."""
        await self.worker.waiting()

    async def taken(self) -> Claim:
        """What comes to the line, claimed by the worker."""
        return await self.worker.taken()

    def finish(self, claim: Claim) -> None:
        self.worker.say(claim, ANSWER)
        self.worker.succeed(claim, ANSWER)

    async def end(self) -> None:
        for task in self.during:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def question(path: str, text: str = QUESTION) -> dict[str, Any]:
    """A question in the words of a door."""
    if path == "/v1/admin/models":
        return {"id": MODEL, "engine": "echo"}
    if path.startswith("/v1/admin/keys"):
        return {} if path.endswith(("/rotate", "/webhook")) else {"name": "Example Ltd"}
    if path in ("/v1/jobs/cancel", "/v1/jobs/redeliver"):
        return {}
    named = {"model": MODEL} if path.startswith("/v1/") and path != "/v1" else {}
    if path.startswith("/v1/responses"):
        return named | {"input": text}
    if path in ("/v1/jobs", "/v1/estimate") or path.endswith("/chat/completions"):
        return named | {"messages": [{"role": "user", "content": text}]}
    return named | ({"prompt": text} if path.endswith("/completions") else {"inputs": text})
