"""What every answer to a stranger must be: in time, of a documented kind, and without what was sent."""

import time
from dataclasses import dataclass

import httpx
from pydantic_core import from_json

from shared.errors import CODES

LIMIT_S = 45.0
"""Longest any answer may take, also where the machine stands still meanwhile. Heads have 8 s and bodies 10 s for
each stretch; without that a body would have 60 s."""
LENGTH_LIMIT = 4000
"""Longest refusal; what is refused is not sent back."""
OVERLOAD = (503, 504)


@dataclass(frozen=True)
class Answer:
    """`code` is the error's, GOOD for none."""

    status: int
    code: str
    text: str


class Stranger(httpx.Client):
    """Sends what it likes, and takes nothing but an answer in time."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=LIMIT_S)

    def ask(self, method: str, path: str, **how: object) -> Answer:
        """Raises AssertionError for an answer that nobody should get, httpx.TransportError for none."""
        began = time.monotonic()
        reply = self.request(method, path, **how)  # type: ignore[arg-type]
        assert time.monotonic() - began < LIMIT_S
        return checked(reply.status_code, reply.headers.get("content-type", ""), reply.content)


def checked(status: int, kind: str, body: bytes) -> Answer:
    """Raises AssertionError."""
    text = body.decode()
    if status < 400:
        return Answer(status, "", text)
    assert kind in ("application/json", "application/problem+json"), kind
    assert len(text) < LENGTH_LIMIT, text
    code = _code(from_json(body))
    assert code in CODES, text
    assert status == CODES[code].status, text
    assert status < 500 or status in OVERLOAD, text
    return Answer(status, code, text)


def _code(said: dict[str, object]) -> str:
    error = said.get("error")
    found = error["code"] if isinstance(error, dict) else said.get("error_type", said.get("code"))
    return str(found)
