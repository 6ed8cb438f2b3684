"""Names that cannot be guessed: 128 random bits behind a prefix that says what they name."""

import hashlib
import json
import secrets


def job_id() -> str:
    return f"job_{secrets.token_hex(16)}"


def run_id() -> str:
    return f"run_{secrets.token_hex(16)}"


def request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def worker_id() -> str:
    return f"worker_{secrets.token_hex(8)}"


def key_id() -> str:
    return f"key_{secrets.token_hex(8)}"


def file_id() -> str:
    """With a hyphen, as OpenAI's begin: some clients look for it."""
    return f"file-{secrets.token_hex(16)}"


def batch_id() -> str:
    return f"batch_{secrets.token_hex(16)}"


def batch_id_of(caller: str, key: str) -> str:
    """The id of the batch that a caller asks for under an idempotency key."""
    return f"batch_{hashlib.sha256(json.dumps([caller, key]).encode()).hexdigest()[:32]}"


def endpoint_id() -> str:
    return f"wh_{secrets.token_hex(16)}"


def test_id() -> str:
    """The id of one test of an endpoint."""
    return f"test_{secrets.token_hex(16)}"


def token() -> str:
    """A claim's fence: made by the claimer, so a repeated claim call is recognised."""
    return secrets.token_hex(16)
