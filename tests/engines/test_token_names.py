"""A token's bytes, for each way that tokenizers write them."""

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.engines.conftest import TINY
from worker.engines.grammar.token_bytes import TokenNames, guidance_tokenizer

TEXT = "na\u00efve \u65e5\u672c \U0001f469 a b\n\tend"


def byte_level() -> Any:
    return AutoTokenizer.from_pretrained(TINY)


def with_spaces_marked() -> Any:
    """As SentencePiece models write them, with bytes for what the vocabulary lacks."""
    words = ["<unk>", "\u2581", "a", "\u2581a", "b", "n", "e", "d", "v", "<end>"]
    vocabulary = {word: at for at, word in enumerate([*words, *(f"<0x{byte:02X}>" for byte in range(256))])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("\u2581", "a")], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")


def names_of(tokenizer: Any) -> TokenNames:
    return TokenNames(tokenizer, guidance_tokenizer(tokenizer, [tokenizer.eos_token_id]))


@pytest.mark.parametrize("make", [byte_level, with_spaces_marked])
def test_the_bytes_of_a_texts_tokens_are_the_texts(make: Any) -> None:
    tokenizer = make()
    names = names_of(tokenizer)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert b"".join(names(id_)[1] for id_ in ids).decode().removeprefix(" ") == TEXT
    assert any(names(id_)[0].startswith(("\\x", " \\x")) for id_ in ids), "no piece of a character is named"


@pytest.mark.parametrize("make", [byte_level, with_spaces_marked])
def test_a_special_token_has_a_name_and_no_bytes(make: Any) -> None:
    tokenizer = make()
    assert names_of(tokenizer)(tokenizer.eos_token_id) == (tokenizer.eos_token, b"")


def test_an_added_token_that_is_no_special_one_is_text() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["\u00a7\u00a7 paragraph"])
    assert names_of(tokenizer)(len(tokenizer) - 1) == (
        "\u00a7\u00a7 paragraph",
        "\u00a7\u00a7 paragraph".encode(),
    )


def test_a_row_of_the_head_that_is_no_token_has_no_name() -> None:
    assert names_of(byte_level())(5000) == ("", b"")
