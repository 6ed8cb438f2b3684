"""Keeps a tokenizer from cutting or padding prompts, whatever the folder's tokenizer files say."""

from typing import Any

# Settings from training, to which examples were cut or padded. Processors pass them from these files to the
# tokenizer and, for sounds, to the feature extractor (transformers 5.23, ProcessorMixin._merge_kwargs).
OF_TRAINING = ("max_length", "truncation", "padding", "pad_to_multiple_of")


def keep_whole(tokenizer: Any) -> None:
    """Turn off cutting and padding, also in its processor. Call it before several threads use it."""
    for name in OF_TRAINING:
        tokenizer.init_kwargs.pop(name, None)
    # The first call undoes what tokenizer.json sets, which would disturb calls in other threads.
    tokenizer("x")
