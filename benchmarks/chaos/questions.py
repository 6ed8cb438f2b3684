"""What is asked, and the only right answer to it: the echo engine's is known beforehand."""

import random
from dataclasses import dataclass
from typing import Literal

Way = Literal["poll", "follow", "chat", "chat_stream"]
WAYS: dict[Way, int] = {"poll": 4, "follow": 3, "chat": 2, "chat_stream": 1}
"""How many of ten clients ask in each way: poll or follow a job, or make a call that waits or streams."""
SHORTEST, LONGEST = 8, 24
"""Words of a question, and so tokens of its answer."""
SAME_SHARE = 0.1
"""Share of questions that repeat a recent one, so that they join its run or find its answer."""
PICTURE_SHARE = 0.04
"""Share of the polled and followed jobs with a picture that the courier has to fetch."""
PICTURE_SIZE = (32, 24)
PICTURE_WORD = "[32x24]"


@dataclass(frozen=True)
class Question:
    number: int
    way: Way
    prompt: str
    picture: bool

    @property
    def answer(self) -> str:
        return f"{self.prompt} {PICTURE_WORD}" if self.picture else self.prompt


def questions(seed: int, count: int) -> list[Question]:
    dice = random.Random(seed)  # noqa: S311
    asked: list[Question] = []
    for number in range(count):
        way = dice.choices(tuple(WAYS), tuple(WAYS.values()))[0]
        picture = way in ("poll", "follow") and dice.random() < PICTURE_SHARE
        prompt = _prompt(dice, number)
        if number > LONGEST and dice.random() < SAME_SHARE:
            prompt = asked[-dice.randint(1, 10)].prompt
        asked.append(Question(number, way, prompt, picture))
    return asked


def _prompt(dice: random.Random, number: int) -> str:
    """Every word is unlike its neighbours', so that a piece in the wrong place shows."""
    return " ".join(f"q{number}w{place}" for place in range(dice.randint(SHORTEST, LONGEST)))
