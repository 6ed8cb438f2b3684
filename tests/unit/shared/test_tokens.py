"""How many tokens a prompt is said to have, by what its model's worker measured."""

from dataclasses import replace

import pytest

from shared.request import Image, Message, Request, Sound, Text
from shared.result import SeenPicture
from shared.tokens import GUESS, TokenRule, Tokens, estimate_tokens, rule_of

FIXED = TokenRule(bytes_per_token=4, template=10, turn=5, sides=(), pictures=((64,),))
LISTENING = replace(FIXED, sound=(2, 25))
SIDES = (100, 200, 400)
# A token for each square of 10 pixels.
BY_AREA = replace(FIXED, sides=SIDES, pictures=tuple(tuple(w * h // 100 for h in SIDES) for w in SIDES))


def asked(*texts: str, pictures: int = 0, sounds: int = 0) -> Request:
    media = (*[Image(digest="d")] * pictures, *[Sound(digest="s")] * sounds)
    turns = (Message(role="user", parts=(Text(text=text),)) for text in texts[1:])
    return Request(model="m", messages=(Message(role="user", parts=(Text(text=texts[0]), *media)), *turns))


def test_text_turns_and_pictures_are_counted_together() -> None:
    request = asked("x" * 40, "y" * 20, pictures=2)

    estimate = estimate_tokens(request, [(9, 9), (2000, 30)], FIXED)
    assert estimate == Tokens(
        10 + 5 + 15 + 128,
        (64, 64),
        "measured",
        (SeenPicture(width=9, height=9, tokens=64), SeenPicture(width=2000, height=30, tokens=64)),
    )


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        *(((100, 400), 400), ((400, 100), 400), ((150, 300), 450), ((200, 399), 798), ((250, 250), 625)),
        # Beyond what was measured it is the nearest.
        *(((10, 10), 100), ((4000, 4000), 1600), ((4000, 1000), 400)),
    ],
)
def test_what_follows_the_area_is_exact_between_what_was_measured(size: tuple[int, int], tokens: int) -> None:
    assert BY_AREA.picture(*size) == tokens


@pytest.mark.parametrize(
    ("size", "seen"), [((150, 300), (75, 150)), ((400, 100), (200, 50)), ((800, 200), (200, 50))]
)
def test_the_size_that_a_model_sees_is_told_in_between(size: tuple[int, int], seen: tuple[int, int]) -> None:
    rule = replace(BY_AREA, seen=tuple(tuple((w // 2, h // 2) for h in SIDES) for w in SIDES))
    assert rule_of(rule.dumped()) == rule
    told = estimate_tokens(asked("x", pictures=1), [size], rule).seen
    assert [(picture.width, picture.height) for picture in told] == [seen]


def test_without_a_worker_it_is_a_guess_and_so_are_sounds_that_nobody_measured() -> None:
    assert estimate_tokens(asked("x" * 40), [], None) == Tokens(10, (), "guess")
    assert estimate_tokens(asked("x" * 40, sounds=1), [], FIXED, [9.5]) == Tokens(10 + 10 + 256, (), "guess")


def test_sounds_are_counted_by_their_seconds() -> None:
    request = asked("x" * 40, pictures=1, sounds=2)

    estimate = estimate_tokens(request, [(9, 9)], LISTENING, [30.0, 0.5])
    assert estimate == Tokens(
        20 + 64 + 752 + 14, (64,), "measured", (SeenPicture(width=9, height=9, tokens=64),)
    )


def test_what_is_still_to_be_fetched_leaves_the_sum_open() -> None:
    assert estimate_tokens(asked("x", pictures=2), [(9, 9)], FIXED) == Tokens(None, None, "measured")
    assert estimate_tokens(asked("x", sounds=2), [], LISTENING, [1.0]) == Tokens(None, (), "measured")


def test_a_model_that_takes_no_pictures_has_no_tokens_for_them() -> None:
    rule = TokenRule(4, 0, 0, (), ())
    assert rule.picture(100, 100) == 0


@pytest.mark.parametrize("rule", [FIXED, LISTENING, BY_AREA, GUESS])
def test_a_rule_is_read_as_it_was_published(rule: TokenRule) -> None:
    assert rule_of(rule.dumped()) == rule
    assert rule_of("") is None


@pytest.mark.parametrize(
    ("now", "then"), [("{", '{"videos":[1],'), (',"sound":null', "")], ids=["newer", "older"]
)
def test_a_rule_of_another_release_s_worker_is_read(now: str, then: str) -> None:
    assert rule_of(FIXED.dumped().replace(now, then, 1)) == FIXED
