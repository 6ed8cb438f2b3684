"""The contact sheet: pictures with what was asked and answered, wrong answers in red beside the truth."""

import textwrap
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from training.cases import Case

WIDTH, PICTURE, TEXT = 200, 96, 78
COLUMNS = 6
INK, WRONG = "#222222", "#c00000"


@dataclass(frozen=True)
class Answered:
    case: Case
    answer: str


def sheet(answered: list[Answered]) -> Image.Image:
    rows = -(-len(answered) // COLUMNS)
    drawn = Image.new("RGB", (COLUMNS * WIDTH, rows * (PICTURE + TEXT)), "white")
    for i, one in enumerate(answered):
        drawn.paste(_card(one), (i % COLUMNS * WIDTH, i // COLUMNS * (PICTURE + TEXT)))
    return drawn


def _card(one: Answered) -> Image.Image:
    card = Image.new("RGB", (WIDTH, PICTURE + TEXT), "white")
    for i, scene in enumerate(one.case.pictures[-2:]):
        thumb = scene.image.copy()
        thumb.thumbnail((PICTURE - 6, PICTURE - 6))
        card.paste(thumb, (4 + i * PICTURE, 4))
    right = one.answer == one.case.answer
    said = _wrapped(one.case.asked[-1].question, "") + _wrapped(one.answer, "> ")
    pen = ImageDraw.Draw(card)
    text = said if right else said + _wrapped(one.case.answer, "truth: ")
    pen.multiline_text(
        (4, PICTURE), text, INK if right else WRONG, ImageFont.load_default(size=10), spacing=2
    )
    return card


def _wrapped(text: str, before: str) -> str:
    return "\n".join(textwrap.wrap(before + text, 38)[:3]) + "\n"
