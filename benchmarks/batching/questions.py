"""What every server is asked: the same pictures and words under the same number, and none twice."""

import base64
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.frame.load import post
from benchmarks.frame.services import ROOT, TINY

WORDS = ("bidu", "chimu", "kelo", "nola", "stara", "trize", "vao", "wheru")
FEWEST, MOST = 6, 30
SIDE, GRAINS = 224, 16


@dataclass(frozen=True)
class Question:
    """A picture (a PNG) and what is asked about it."""

    picture: bytes
    text: str


@dataclass(frozen=True)
class Subject:
    """A model. An answer has at most `longest` tokens, and exactly that many unless it `ends` by itself."""

    name: str
    folder: Path
    longest: int
    ends: bool


SUBJECTS = {
    "tiny": Subject("tiny", TINY, 48, ends=True),
    "mid": Subject("mid", ROOT / "data" / "models" / "mid", 128, ends=False),
}


@dataclass(frozen=True)
class Wire:
    """How to speak to one server: the model's name there, and whether it counts tokens only on request."""

    model: str
    counts_on_request: bool

    def ask(self, numbers: Sequence[int], longest: int) -> Iterator[bytes]:
        """Return whole HTTP requests, made beforehand, for streamed answers that are drawn greedily."""
        return iter([self._post(question(number), longest) for number in numbers])

    def _post(self, question: Question, longest: int) -> bytes:
        picture = "data:image/png;base64," + base64.b64encode(question.picture).decode()
        content = [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": question.text},
        ]
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        body |= {"max_tokens": longest, "temperature": 0, "stream": True}
        if self.counts_on_request:
            body["stream_options"] = {"include_usage": True}
        return post("/v1/chat/completions", json.dumps(body).encode())


def question(number: int) -> Question:
    """Return coloured fog, and 6 to 30 invented words."""
    dice = random.Random(f"batching {number}")  # noqa: S311
    grains = Image.frombytes("RGB", (GRAINS, GRAINS), dice.randbytes(3 * GRAINS * GRAINS))
    written = io.BytesIO()
    grains.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(written, "PNG")
    return Question(written.getvalue(), " ".join(dice.choices(WORDS, k=dice.randint(FEWEST, MOST))))
