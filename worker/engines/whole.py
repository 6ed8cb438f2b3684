"""A prompt's tokens are all that its text becomes, whatever a folder's tokenizer files say."""

from typing import Any

# What those who trained a model cut or filled up its examples to. Processors hand it from these files to
# the tokenizer and, for sounds, to the feature extractor (transformers 5.23, ProcessorMixin._merge_kwargs).
OF_TRAINING = ("max_length", "truncation", "padding", "pad_to_multiple_of")


def keep_whole(tokenizer: Any) -> None:
    """Have it neither cut texts nor fill them up, by itself and in its processor. Before threads use it."""
    for name in OF_TRAINING:
        tokenizer.init_kwargs.pop(name, None)
    # The first call takes back what tokenizer.json says of it, which no thread in another call could bear.
    tokenizer("x")
