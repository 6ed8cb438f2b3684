"""Names that cannot be guessed: random bits behind a prefix that says what they name.

The first two digits of what the record store keeps are its cell's, so that one installation may have several.
"""

import hashlib
import json
import os

CELL = "00"
"""The only one there is."""


def _id(prefix: str, size: int = 16) -> str:
    """`size` bytes, written in hex."""
    return f"{prefix}{CELL}{os.urandom(size - 1).hex()}"


def job_id() -> str:
    return _id("job_")


def request_id() -> str:
    return f"req_{os.urandom(16).hex()}"


def worker_id() -> str:
    return f"worker_{os.urandom(8).hex()}"


def key_id() -> str:
    return _id("key_", 8)


def file_id() -> str:
    """With a hyphen, as OpenAI's begin: some clients look for it."""
    return _id("file-")


def batch_id() -> str:
    return _id("batch_")


def batch_id_of(caller: str, key: str) -> str:
    """The id of the batch that a caller asks for under an idempotency key: no release may change it."""
    return f"batch_{hashlib.sha256(json.dumps([caller, key]).encode()).hexdigest()[:32]}"


def line_job_id(batch: str, number: int) -> str:
    """The id of the job of a batch's line."""
    return f"job_{CELL}{hashlib.sha256(f'{batch} {number}'.encode()).hexdigest()[:30]}"


def token() -> str:
    """A claim's fence: made by the claimer, so a repeated claim call is recognised."""
    return os.urandom(16).hex()
