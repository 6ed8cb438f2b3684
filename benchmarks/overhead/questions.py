"""What is asked of both sides: requests, the pictures in them, and the names of the bare task."""

import base64
import itertools
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = "bench/echo"
LANE = "model.bench--echo"
BARE_TASK, BARE_QUEUE, BARE_CHANNEL = "bare.started", "bare", "bare:started"
SAMPLE = Path(__file__).parents[2] / "examples" / "sample.png"
ASKED = "How many red circles stand left of the blue square, and does one of them touch it?"
_numbers = itertools.count()


def post(path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 message."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def hf_question() -> bytes:
    """One question about one small picture, always the same."""
    inputs = {"image": base64.b64encode(SAMPLE.read_bytes()).decode(), "question": ASKED}
    return json.dumps({"inputs": inputs}).encode()


def chat_question() -> bytes:
    """One question without a picture, always the same."""
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": ASKED}]}).encode()


def job(question: str, image: bytes | None = None, model: str = MODEL) -> bytes:
    asked: dict[str, Any] = {"prompt": question}
    if image is not None:
        asked["image"] = "data:image/png;base64," + base64.b64encode(image).decode()
    return json.dumps({"model": model, "input": asked}).encode()


def distinct_jobs(image: bytes | None = None, model: str = MODEL) -> Callable[[], bytes]:
    """Messages that submit a question never asked before, about the same picture or none."""
    before, _, after = post("/v1/jobs", job(f"{'0' * 12} {ASKED}", image, model)).partition(b"0" * 12)
    return lambda: b"%s%012d%s" % (before, next(_numbers), after)


def distinct_pictures() -> Callable[[], bytes]:
    """Messages that submit a question about a picture never seen before."""
    return lambda: post("/v1/jobs", job(ASKED, _numbered(SAMPLE.read_bytes(), next(_numbers))))


def noise(side: int, draw: Callable[[int], bytes] = os.urandom) -> bytes:
    """A PNG that does not compress: three bytes a pixel."""
    rows = b"".join(b"\0" + draw(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 0)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _numbered(png: bytes, number: int) -> bytes:
    """The same picture with other bytes."""
    return png[:33] + _chunk(b"tEXt", b"Comment\0%d" % number) + png[33:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
