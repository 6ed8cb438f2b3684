"""The tokenizer and the processor: byte-level BPE (any UTF-8 goes in) learnt from generated conversations.

Digits stand alone and runs of capitals are split letter by letter: a text in a picture is spelled, never
recognised as a whole.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from training.conversation import conversation
from training.pixels import PATCH, SIDE
from training.world import COLOR_NAMES

PAD, END, USER, ASSISTANT, IMAGE = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<image>"
MARKS = ("<|img1|>", "<|img2|>", "<|img3|>", "<|img4|>")
VOCABULARY = 1024
CONVERSATIONS = 12_000
# One digit, one capital of a run, a word, marks, blanks.
PIECES = r"\p{N}| ?\p{Lu}(?=\p{Lu}|\P{L}|$)|'s| ?\p{L}[\p{Ll}\p{Lo}]*| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def new_tokenizer() -> PreTrainedTokenizerFast:
    """The same at every call: its seed is fixed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=12,
        special_tokens=[PAD, END, USER, ASSISTANT, IMAGE, *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_said(), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int):
        raise TypeError(f"{token!r} is not one token")
    return found


def _said() -> Iterator[str]:
    rng = random.Random("tokenizer")
    for _ in range(CONVERSATIONS):
        for exchange in conversation(rng):
            yield exchange.turn.question
            if exchange.turn.kind != "text":
                yield exchange.turn.answer
    for color in COLOR_NAMES:  # also on their own, so that each is one token
        for word in (color, color.capitalize()):
            yield from [word, f" {word}"] * 20


def new_processor(tokenizer: PreTrainedTokenizerFast, template: Path) -> LlavaProcessor:
    """`Pil` is named because the other image processor needs torchvision; what is saved loads without either
    being named."""
    pictures = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=template.read_text(),
    )
