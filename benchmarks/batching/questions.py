"""What every server is asked: the same pictures and words under the same number, and none twice."""

import base64
import io
import json
import random
from typing import Any

from PIL import Image

from benchmarks.frame.load import post
from benchmarks.frame.services import ROOT, TINY

FOLDERS = {"tiny": TINY, "mid": ROOT / "data" / "models" / "mid"}
LONGEST = {"tiny": 48, "mid": 128}
"""Most tokens of an answer; `mid` gives exactly as many as it may."""
WORDS = ("bidu", "chimu", "kelo", "nola", "stara", "trize", "vao", "wheru")
FEWEST, MOST = 6, 30
SIDE, GRAINS = 224, 16


def message(number: int, model: str, longest: int, **options: Any) -> bytes:
    """Return a whole HTTP request for a streamed answer that is drawn greedily.

    It shows coloured fog, and says 6 to 30 invented words.
    """
    dice = random.Random(f"batching {number}")  # noqa: S311
    grains = Image.frombytes("RGB", (GRAINS, GRAINS), dice.randbytes(3 * GRAINS * GRAINS))
    written = io.BytesIO()
    grains.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(written, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
    text = " ".join(dice.choices(WORDS, k=dice.randint(FEWEST, MOST)))
    content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": longest}
    body |= {"temperature": 0, "stream": True} | options
    return post("/v1/chat/completions", json.dumps(body).encode())
