"""What one picture of the corpus is, and an innocent one to begin with."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
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


def cut(kind: str, whole: bytes, fate: str, tenths: Iterable[int]) -> Iterator[Case]:
    for left in tenths:
        yield Case(f"{kind} cut at {left} tenths", partial(bytes, whole[: len(whole) * left // 10]), fate)


def flipped(
    kind: str, whole: bytes, count: int, *, begin: int = 4, end: int | None = None, each: int = 1
) -> Iterator[Case]:
    """Bytes changed at random, `each` more in every case: nobody knows what they are now."""
    for number in range(count):
        dice, data = random.Random(number), bytearray(whole)
        for _ in range(1 + each * number):
            data[dice.randrange(begin, end or len(data))] = dice.randrange(256)
        yield Case(f"{kind} with errors {number}", partial(bytes, data), ANY)
