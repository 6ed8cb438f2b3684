"""Forms with a file in them, as they go over the wire, and questions that name one."""

from pathlib import Path
from typing import Any

import httpx

from tests.support.app import client_of
from tests.support.scripted_worker import ScriptedWorker

MODEL = "sightline/tiny"


def blobs(worker: ScriptedWorker) -> list[Path]:
    return [path for path in Path(worker.settings.blobs.url).rglob("*") if path.is_file()]


def form(*parts: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """A form's body; each part is the headers behind `form-data; ` and what it holds."""
    head = f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
    return b"".join(head + said.encode() + b"\r\n\r\n" + held + b"\r\n" for said, held in parts) + (
        f"--{boundary}--\r\n".encode()
    )


async def post(app: Any, body: bytes, **headers: str) -> httpx.Response:
    said = {"content-type": "multipart/form-data; boundary=edge", **headers}
    async with client_of(app) as caller:
        return await caller.post("/v1/files", content=body, headers=said)


def asking(*parts: dict[str, Any]) -> dict[str, Any]:
    """A question of these parts."""
    return {"model": MODEL, "messages": [{"role": "user", "content": list(parts)}]}
