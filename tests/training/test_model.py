"""A model trained from nothing has the shape and the special tokens of the shipped one."""

import pytest
from transformers import AutoConfig, PreTrainedTokenizerFast

from training.model import END, IMAGE, PAD, TINY, new_tokenizer, token_id


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer(["What does the text say? ABC 1234", "The text STOP in red."] * 20)


@pytest.mark.parametrize("text", ["STOP", "A1B2", "2026"])
def test_a_text_in_a_picture_is_spelled_and_never_recognised_as_a_whole(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    assert tokenizer.tokenize(text) == list(text)


def test_special_tokens_keep_the_numbers_that_the_architecture_names(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    config = AutoConfig.from_pretrained(TINY)
    numbers = [token_id(tokenizer, token) for token in (PAD, END, IMAGE)]
    assert numbers == [config.pad_token_id, config.eos_token_id, config.image_token_index]
