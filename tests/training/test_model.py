"""A model trained from nothing has the shape and the special tokens of the shipped one."""

import pytest
from transformers import AutoConfig, PreTrainedTokenizerFast

from training.model import END, IMAGE, PAD, TINY, new_model, new_tokenizer, token_id


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer(["What does the text say? ABC 1234", "The text STOP in red."] * 20)


@pytest.mark.parametrize("text", ["STOP", "A1B2", "2026"])
def test_a_text_in_a_picture_is_spelled_and_never_recognised_as_a_whole(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    assert tokenizer.tokenize(text) == list(text)


def test_any_text_is_read_back_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "😀 这是什么 Ünïcödé \x00 مرحبا"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_special_tokens_keep_the_numbers_that_the_architecture_names(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    config = AutoConfig.from_pretrained(TINY)
    numbers = [token_id(tokenizer, token) for token in (PAD, END, IMAGE)]
    assert numbers == [config.pad_token_id, config.eos_token_id, config.image_token_index]


def test_an_untrained_model_ends_its_answers_as_the_shipped_one_does() -> None:
    generation = new_model().generation_config
    assert (generation.max_new_tokens, generation.eos_token_id) == (48, 1)
