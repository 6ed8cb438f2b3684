"""What one picture of the corpus is, and an innocent one to begin with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tests.support import pictures as make

KINDS = ("PNG", "JPEG", "WEBP", "GIF")
SIZE = (40, 30)
ANY = "any"
BAD = "bad"
SHOWN = "shown"
ELSEWHERE = "http://10.11.12.13:8080/reached"
"""Where nobody may ever go, whatever a file says."""


@dataclass(frozen=True)
class Case:
    """`fate` is the size that the model sees, or SHOWN for any; BAD, or ANY where both are right.

    `made` makes the file, or the text that stands where a picture should.
    """

    name: str
    made: Callable[[], bytes | str]
    fate: tuple[int, int] | str


def photo(kind: str = "JPEG", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """With something in every corner, so that compressors keep some bytes of it."""
    noise = Image.effect_noise(size, 60)
    return make.encoded(Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))), kind, **options)
