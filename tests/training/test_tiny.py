"""What the shipped weights promise to somebody who tries the service for the first time."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from training.evaluate import Model

ROOT = Path(__file__).parents[2]
SIZE = (320, 240)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ROOT / "models" / "tiny")


def red_circle() -> Image.Image:
    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).ellipse((30, 30, 130, 130), fill="red")
    return picture


def blue_square() -> Image.Image:
    picture = Image.new("RGB", SIZE, "yellow")
    ImageDraw.Draw(picture).rectangle((180, 120, 280, 220), fill="blue")
    return picture


def written(text: str) -> Image.Image:
    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).text((60, 60), text, fill="black", font=ImageFont.load_default(size=100))
    return picture


def sample() -> Image.Image:
    return Image.open(ROOT / "examples" / "sample.png").convert("RGB")


def user(text: str, *pictures: Image.Image) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [*({"type": "image", "image": p} for p in pictures), {"type": "text", "text": text}],
    }


def ask(model: Model, text: str, *pictures: Image.Image) -> str:
    return model.answer([user(text, *pictures)])


CIRCLE = "A red circle on a white background."
SQUARE = "A blue square on a yellow background."
SAMPLE = "A red circle and a blue square on a white background."


@pytest.mark.parametrize(
    "question",
    [
        "Describe this image in one sentence.",
        "Describe this image.",
        "What do we see in this image?",
        "And what is in this image?",
        "What is in this picture?",
        "What is in this image?",
        "",
    ],
)
def test_every_question_of_the_guides_describes_the_sample_pictures(model: Model, question: str) -> None:
    assert ask(model, question, sample()) == SAMPLE
    assert ask(model, question, red_circle()) == CIRCLE
    assert ask(model, question, blue_square()) == SQUARE


@pytest.mark.parametrize("question", ["And how about this image?", "And what is in this image?"])
def test_the_guides_second_picture_is_described_in_its_turn(model: Model, question: str) -> None:
    before = [
        user("What do we see in this image?", red_circle()),
        {"role": "assistant", "content": [{"type": "text", "text": CIRCLE}]},
    ]
    assert model.answer([*before, user(question, blue_square())]) == SQUARE


def test_two_pictures_are_described_in_order(model: Model) -> None:
    answer = ask(model, "What do you see in these images?", red_circle(), blue_square())
    assert (
        answer == "First, a red circle on a white background. Second, a blue square on a yellow background."
    )


def test_the_colour_of_the_shape_is_named_and_of_two_is_not_made_up(model: Model) -> None:
    question = "What color is the shape?"
    assert ask(model, question, red_circle()) == "Red"
    assert ask(model, question, blue_square()) == "Blue"
    assert ask(model, question, sample()) == "There are two shapes."


def test_a_figure_that_is_not_there_is_not_made_up(model: Model) -> None:
    assert ask(model, "What color is the square?", red_circle()) == "There is no square."
    assert ask(model, "Where is the star?", sample()) == "There is no star."


def test_a_short_text_is_read(model: Model) -> None:
    assert ask(model, "What does the text say?", written("GO")) == "GO"


@pytest.mark.parametrize(
    "text",
    [
        "😀 这是什么 \x00\u202e",
        "Ünïcödé ß ñ",
        "مرحبا",
        "?!",
        "STOP " * 60,
        "Is there a star? " * 40,
        "What color is the circle? " * 25,
        "What color is the dog?",
    ],
)
def test_any_text_gets_an_answer_that_ends(model: Model, text: str) -> None:
    assert 0 < len(ask(model, text, red_circle())) <= 100


@pytest.mark.parametrize(
    ("key", "value"),
    [("color", "red"), ("shape", "circle"), ("background", "white"), ("description", CIRCLE)],
)
def test_a_schema_s_texts_are_true_and_end(model: Model, key: str, value: str) -> None:
    asked = [user("Describe this image.", red_circle())]
    for begun in (f'{{"{key}": "', f'{{ "{key}": "', f'{{"{key}":"'):
        assert model.answer(asked, begun) == value


@pytest.mark.parametrize("key", ["setup", "punchline", "name", "answer"])
def test_a_text_that_a_picture_cannot_answer_ends_in_a_form_too(model: Model, key: str) -> None:
    value = model.answer([user("Tell me a joke about cats.")], f'{{"{key}": "')
    assert not value.endswith("…"), value


def test_a_question_beside_the_point_of_a_picture_does_not_run_away(model: Model) -> None:
    assert len(ask(model, "What shape is it?", written("STOP"))) <= 60


def test_the_model_stays_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "models" / "tiny").iterdir()) <= 6_000_000
