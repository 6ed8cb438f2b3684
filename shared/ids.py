"""Names that cannot be guessed: 128 random bits behind a prefix that says what they name."""

import hashlib
import json
import os


def job_id() -> str:
    return f"job_{os.urandom(16).hex()}"


def run_id() -> str:
    return f"run_{os.urandom(16).hex()}"


def request_id() -> str:
    return f"req_{os.urandom(16).hex()}"


def worker_id() -> str:
    return f"worker_{os.urandom(8).hex()}"


def key_id() -> str:
    return f"key_{os.urandom(8).hex()}"


def file_id() -> str:
    """With a hyphen, as OpenAI's begin: some clients look for it."""
    return f"file-{os.urandom(16).hex()}"


def batch_id() -> str:
    return f"batch_{os.urandom(16).hex()}"


def batch_id_of(caller: str, key: str) -> str:
    """The id of the batch that a caller asks for under an idempotency key."""
    return f"batch_{hashlib.sha256(json.dumps([caller, key]).encode()).hexdigest()[:32]}"


def endpoint_id() -> str:
    return f"wh_{os.urandom(16).hex()}"


def test_id() -> str:
    """The id of one test of an endpoint."""
    return f"test_{os.urandom(16).hex()}"


def token() -> str:
    """A claim's fence: made by the claimer, so a repeated claim call is recognised."""
    return os.urandom(16).hex()
