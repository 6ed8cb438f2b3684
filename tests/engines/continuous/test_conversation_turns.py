"""What a chat's next turn, and a picture in another shape, find of what was computed before."""

import threading
from typing import Any

import pytest
from PIL import Image as Pictures

from shared.request import Image, Message, Parameters, Request, Text
from tests.engines import suite
from worker.engines.base import Finish, Row

ABOUT = "What do we see in this image?"


def turn(engine: suite.Harness, said: list[tuple[str, str]], scope: str, **parameters: Any) -> Finish:
    messages = tuple(
        Message(role=role, parts=(*((Image(),) if at == 0 else ()), Text(text=text)))
        for at, (role, text) in enumerate(said)
    )
    asked = Request(model="m", messages=messages, parameters=Parameters(**parameters))
    prompt = engine.engine.prepare(asked, [suite.picture()], scope)
    return engine.engine.generate(Row(prompt, asked.parameters, lambda _: None, threading.Event()))


@pytest.mark.parametrize("most", [2, 3, 48], ids=["cut off", "cut off later", "ended"])
def test_a_chat_goes_on_from_the_last_token_of_the_answer_that_was_computed(
    harness: suite.Harness, alone: suite.Harness, most: int
) -> None:
    """The last token was drawn, and never fed: nothing is known of what follows it."""
    first = turn(harness, [("user", ABOUT)], f"turns {most}", max_new_tokens=most)
    said = [("user", ABOUT), ("assistant", first.text), ("user", "And now?")]
    later = turn(harness, said, f"turns {most}")
    assert later.cached_tokens == harness.row(ABOUT, [suite.picture()]).prompt.tokens + len(first.ids) - 1
    assert later.ids == turn(alone, said, "").ids


def test_a_picture_of_the_same_pixels_in_another_shape_is_another_picture(
    harness: suite.Harness,
    encodings: list[Any],
) -> None:
    for shape in ((64, 48), (48, 64)):
        harness.ask(ABOUT, [Pictures.new("RGB", shape, "red")], scope="shapes")
    assert len(encodings) == 2
