"""Keys of made-up customers, made as an operator makes them."""

from typing import Any

import httpx

from tests.support.app import client_of

ADMIN = "operators-key-0123456789-abcdefghij"
KEYED = {"api": {"admin_key": ADMIN}}
"""Settings of a stage where keys are asked for."""


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def calling(app: Any, secret: str) -> httpx.AsyncClient:
    """A client that sends this key with each call."""
    client = client_of(app)
    client.headers.update(bearer(secret))
    return client


async def made(app: Any, caller: str, **said: Any) -> dict[str, Any]:
    """A new key object, with its secret."""
    async with calling(app, ADMIN) as operator:
        body = {"name": f"{caller}'s", "caller": caller, **said}
        reply = await operator.post("/v1/admin/keys", json=body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def customer(app: Any, caller: str, **said: Any) -> httpx.AsyncClient:
    """A client with a new key."""
    return calling(app, (await made(app, caller, **said))["secret"])


def code_of(reply: httpx.Response) -> str:
    """An error's code, where each family writes it."""
    body = reply.json()
    inner = body["error"] if isinstance(body.get("error"), dict) else body
    return str(inner.get("code") or inner.get("error_type"))
