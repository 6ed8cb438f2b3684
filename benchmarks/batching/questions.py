"""What is asked of every server: the same pictures and words under the same number, and none twice."""

import base64
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.frame.load import post
from benchmarks.frame.services import ROOT, TINY
from benchmarks.preparing.families import page
from training.held_out import MAKERS
from training.phrases import Wording

KINDS = ("background", "color", "count", "describe", "shape", "where", "yes/no")
WORDS = ("bidu", "chimu", "kelo", "nola", "stara", "trize", "vao", "wheru")
FEWEST, MOST = 6, 30
SIDE, GRAINS = 224, 16
PAGE = (1275, 1650)
"""Pixels of a scanned page, 150 to an inch."""


@dataclass(frozen=True)
class Question:
    """A picture and what is asked about it."""

    picture: bytes
    text: str
    kind: str = "png"

    @property
    def message(self) -> dict[str, Any]:
        picture = f"data:image/{self.kind};base64," + base64.b64encode(self.picture).decode()
        return {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": picture}},
                {"type": "text", "text": self.text},
            ],
        }


@dataclass(frozen=True)
class Subject:
    """A model and what it is asked.

    An answer has at most `longest` tokens, and exactly that many where it never `ends` by itself. `many`
    requests are made for each client, `few` at least and `most` at most.
    """

    name: str
    folder: Path
    ask: Callable[[int], Question]
    longest: int
    ends: bool
    many: int
    few: int
    most: int

    def requests(self, clients: int) -> int:
        return min(max(self.many * clients, self.few), self.most)


@dataclass(frozen=True)
class Wire:
    """How one server is spoken to: the model's name there, and whether it counts tokens only on request."""

    model: str
    counts_on_request: bool

    def post(self, messages: Sequence[dict[str, Any]], longest: int) -> bytes:
        """A whole HTTP request for a streamed answer, drawn greedily."""
        body = {"model": self.model, "messages": messages, "max_tokens": longest}
        body |= {"temperature": 0, "stream": True}
        if self.counts_on_request:
            body["stream_options"] = {"include_usage": True}
        return post("/v1/chat/completions", json.dumps(body).encode())

    def ask(self, subject: Subject, numbers: Sequence[int], longest: int) -> Iterator[bytes]:
        return iter([self.post([subject.ask(number).message], longest) for number in numbers])


def _scene_question(number: int) -> Question:
    """A fresh scene, and a question about it as someone would type it."""
    wording = Wording(random.Random(f"batching {number}"))  # noqa: S311
    while True:
        case = MAKERS[wording.rng.choice(KINDS)](wording)
        if case is not None:
            return Question(_png(case.messages[0].pictures[0].image), case.question)


def _fog_question(number: int) -> Question:
    """Coloured fog, and 6 to 30 invented words."""
    dice = random.Random(f"batching {number}")  # noqa: S311
    grains = Image.frombytes("RGB", (GRAINS, GRAINS), dice.randbytes(3 * GRAINS * GRAINS))
    return Question(_png(grains.resize((SIDE, SIDE), Image.Resampling.BICUBIC)), _words(dice))


def page_question(number: int) -> Question:
    """A scanned page of its own, and as many words."""
    return Question(page(PAGE, number), _words(random.Random(f"page {number}")), "jpeg")  # noqa: S311


def _words(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(FEWEST, MOST)))


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


SUBJECTS = {
    "tiny": Subject("tiny", TINY, _scene_question, 48, ends=True, many=32, few=48, most=256),
    "mid": Subject(
        "mid", ROOT / "data" / "models" / "mid", _fog_question, 128, ends=False, many=2, few=4, most=48
    ),
}
