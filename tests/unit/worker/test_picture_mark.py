"""Who writes a picture's tokens into a raw prompt: otherwise it has them twice, or not at all."""

from typing import Any

import pytest
from tokenizers import AddedToken

from worker.engines.prompt.picture_mark import mark_of


class Processor:
    """Takes as many marks per picture as `wants`."""

    image_token: Any = "<image>"

    def __init__(self, *wants: int) -> None:
        self._wants = wants

    def __call__(self, text: list[str], **_: Any) -> None:
        if text[0].count("<image>") not in self._wants:
            raise ValueError("so many images are not there")


@pytest.mark.parametrize(
    ("wants", "mark"),
    [((1,), "<image>"), ((0, 1), "<image>"), ((0,), ""), ((), "<image>")],
    ids=["it replaces the mark", "it takes both", "it writes it itself, as Florence-2's", "it takes neither"],
)
def test_a_mark_is_written_unless_only_its_absence_is_taken(wants: tuple[int, ...], mark: str) -> None:
    assert mark_of(Processor(*wants)) == mark


def test_a_token_of_the_tokenizer_s_own_kind_is_written_by_its_processor_as_blip_2_s() -> None:
    processor = Processor(0, 1)
    processor.image_token = AddedToken("<image>")
    assert mark_of(processor) == ""


def test_a_processor_without_any_has_none() -> None:
    assert mark_of(object()) == ""
