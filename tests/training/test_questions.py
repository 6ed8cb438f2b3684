"""Answers to scenes made by hand."""

import random
import re

import pytest
from PIL import Image

from training.phrases import Wording
from training.questions import QUESTIONS, Turn, about_one, both, which, which_alike
from training.scene import Figure, Letter, Scene, describe

BLANK = Image.new("RGB", (100, 100))
RED_CIRCLE = Figure("circle", "red", 20, 50, 10, "left")
BLUE_SQUARE = Figure("square", "blue", 80, 50, 10, "right")
RED_SQUARE = Figure("square", "red", 50, 20, 10, "top")


def scene(*figures: Figure, text: str = "") -> Scene:
    letters = tuple(Letter(character, 0, 0) for character in text)
    return Scene(BLANK, BLANK, "white", figures, letters, "green" if text else "")


def turns(kind: str, shown: Scene) -> list[Turn]:
    """Every answer of a kind that many draws come to."""
    asked = (QUESTIONS[kind].ask(Wording(random.Random(seed)), shown) for seed in range(200))
    return [turn for turn in asked if turn is not None]


def answers(kind: str, shown: Scene) -> set[str]:
    return {turn.answer for turn in turns(kind, shown)}


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (scene(), "An empty white background."),
        (scene(RED_CIRCLE), "A red circle on a white background."),
        (scene(BLUE_SQUARE, RED_CIRCLE), "A red circle and a blue square on a white background."),
        (
            scene(RED_CIRCLE, BLUE_SQUARE, RED_SQUARE),
            "A red circle, a red square and a blue square on a white background.",
        ),
        (scene(RED_CIRCLE, RED_CIRCLE, RED_CIRCLE), "Three red circles on a white background."),
        (scene(RED_CIRCLE, RED_CIRCLE, RED_SQUARE, BLUE_SQUARE), "Four shapes on a white background."),
        (scene(text="HI"), "The text HI in green on a white background."),
    ],
)
def test_a_description_names_what_is_there_from_left_to_right(shown: Scene, sentence: str) -> None:
    assert describe(shown) == sentence


def test_figures_above_each_other_are_not_put_in_an_order() -> None:
    assert describe(scene(RED_CIRCLE, Figure("star", "pink", 21, 90, 5, "bottom left"))) is None


def test_a_figure_that_is_not_there_is_said_not_to_be_there() -> None:
    for turn in turns("absent", scene(RED_CIRCLE)):
        match = re.fullmatch(r"There is no (.+)\.", turn.answer)
        assert match is not None
        assert match[1] not in ("circle", "red circle", "red shape")


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (scene(), {"There is no shape."}),
        (scene(RED_CIRCLE), set()),
        (scene(RED_CIRCLE, BLUE_SQUARE), {"There are two shapes."}),
        (scene(RED_CIRCLE, BLUE_SQUARE, RED_SQUARE), {"There are three shapes.", "There are two squares."}),
    ],
)
def test_the_shape_of_several_is_not_made_up(shown: Scene, said: set[str]) -> None:
    assert answers("vague", shown) == said


def test_questions_about_a_colour_are_only_asked_of_figures_it_tells_apart() -> None:
    assert answers("shape", scene(RED_CIRCLE, RED_SQUARE, BLUE_SQUARE)) == {"Square"}
    assert answers("color", scene(RED_CIRCLE, RED_SQUARE, BLUE_SQUARE)) == {"Red"}
    assert answers("where", scene(RED_CIRCLE, BLUE_SQUARE)) == {"Left", "Right"}


def test_counts_are_those_of_the_figures() -> None:
    for turn in turns("count", scene(RED_CIRCLE, RED_SQUARE, BLUE_SQUARE)):
        named = re.search(r"(red|blue|circle|square|triangle|star)", turn.question)
        counted = {"red": "2", "blue": "1", "circle": "1", "square": "2", "triangle": "0", "star": "0"}
        assert turn.answer == (counted[named[1]] if named else "3")


def test_of_two_pictures_the_one_that_alone_shows_it_is_named() -> None:
    pair = scene(RED_CIRCLE), scene(BLUE_SQUARE, RED_SQUARE)
    for seed in range(50):
        turn = which(Wording(random.Random(seed)), pair)
        assert turn is not None
        assert turn.answer == ("The first" if "circle" in turn.question else "The second")


def test_pictures_told_apart_closely_differ_by_half_a_name() -> None:
    pair = scene(RED_CIRCLE), scene(BLUE_SQUARE, RED_SQUARE)
    asked = [which_alike(Wording(random.Random(seed)), pair) for seed in range(50)]
    assert {(turn.kind, turn.answer) for turn in asked if turn is not None} == {
        ("which red circle", "The first"),
        ("which red square", "The second"),
    }


def test_a_question_about_one_of_two_says_which() -> None:
    pair = scene(RED_CIRCLE), scene(text="7")
    for turn in (about_one(Wording(random.Random(seed)), pair) for seed in range(100)):
        if turn is not None and turn.answer in ("7", "Red", "Circle"):
            assert ("second" if turn.answer == "7" else "first") in turn.question


def test_two_pictures_are_described_in_their_order() -> None:
    turn = both(Wording(random.Random(0)), (scene(RED_CIRCLE), scene(BLUE_SQUARE)))
    assert turn is not None
    assert (
        turn.answer
        == "First, a red circle on a white background. Second, a blue square on a white background."
    )
