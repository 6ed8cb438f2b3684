"""One family of vision-language models as a folder of its own config, weights, processor and template."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from tests.support.families.tokens import END, PAD, START, token_id
from tests.support.families.weights import sharpen

# transformers' constructors are typed more narrowly than they are.
hf: Any = transformers

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
EYE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
SQUARE = {"height": 28, "width": 28}


@dataclass(frozen=True)
class Family:
    """`build` gives an untrained model and its processor.

    `single`: has no chat template, and takes single questions. `text_alone`: takes questions without a
    picture. `seed`: under it no choice between two tokens is close.
    """

    name: str
    build: Callable[[], tuple[Any, Any]]
    single: bool = False
    text_alone: bool = True
    seed: int = 0

    def folder(self, sessions_files: Path) -> Path:
        """Where the family lies, built on the first call of a test session."""
        return _saved(self, sessions_files / "families" / self.name)

    def save(self, folder: Path) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model, processor = self.build()
        tokenizer = processor.tokenizer
        ends = [token_id(tokenizer, END), token_id(tokenizer, "~")]
        sharpen(model, end=ends, pad=token_id(tokenizer, PAD), seed=self.seed)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder


def called(value: object) -> str | None:
    """A family's name in the names of tests."""
    return value.name if isinstance(value, Family) else None


@cache
def _saved(family: Family, folder: Path) -> Path:
    return family.save(folder)


def text(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    """The language model's config."""
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "pad_token_id": token_id(tokenizer, PAD),
        "bos_token_id": token_id(tokenizer, START),
        "eos_token_id": token_id(tokenizer, END),
        **more,
    }
