"""Makes the middle-sized model of the benchmark: `python -m benchmarks.batching.models FOLDER [VLLM_FOLDER]`.

The tiny model, larger and with random weights from a fixed seed: 196 tokens a picture, 107 million parameters
to speak with. Its answers end at the requested limit, never before, and every token of them is one word: all
servers compute the same number of tokens, and a stream that was cut off can be counted. With VLLM_FOLDER, it
writes a copy of FOLDER there instead, with the names that vLLM reads.
"""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.models.llava import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from benchmarks.frame.services import TINY

VOCABULARY, LONGEST = 32_000, 128
SIDE, PATCH = 224, 16
SEED = 1
# More than the usual 1 / sqrt(inputs): with less, greedy text soon repeats one word.
GAIN = 1.5
QUIET = 0.01
SPACE = "\u0120"
"""How a byte-level tokenizer writes a space."""
WEIGHTS = "model.safetensors"
HEADS, TAILS = (*"bcdfghklmnprstvwz", "st", "tr", "ch"), (*"aeiou", "ai", "ou")
"""The syllables of invented words."""
VISION = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 768,
    "intermediate_size": 2304,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": False,
}


def build(folder: Path) -> None:
    """Write weights, tokenizer and processor; about a minute, 270 MB."""
    shipped: Any = PreTrainedTokenizerFast.from_pretrained(TINY)
    tokenizer = shipped.train_new_from_iterator(_sentences(), VOCABULARY, show_progress=False)
    processor: Any = LlavaProcessor.from_pretrained(TINY)
    processor.tokenizer, processor.patch_size = tokenizer, PATCH
    processor.image_processor.size = {"shortest_edge": SIDE}
    processor.image_processor.crop_size = {"height": SIDE, "width": SIDE}
    processor.save_pretrained(folder)
    _model(tokenizer.get_vocab()).to(torch.bfloat16).save_pretrained(folder)


def rename_for_vllm(source: Path, folder: Path) -> None:
    """Copy the model with its vision tower's weights named as vLLM 0.32 looks for them."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in load_file(source / WEIGHTS).items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _sentences() -> Iterator[str]:
    dice = random.Random(SEED)  # noqa: S311
    drawn = (
        "".join(dice.choice(HEADS) + dice.choice(TAILS) for _ in range(dice.randint(1, 4)))
        for _ in range(60_000)
    )
    words = list(dict.fromkeys(drawn))
    for _ in range(12_000):
        yield " ".join(dice.choices(words, k=40))


def _model(vocabulary: dict[str, int]) -> Any:
    """Return weights under which an answer depends on the whole prompt, and is made of words alone."""
    config: Any = LlavaConfig.from_pretrained(TINY)
    config.vision_config.update(VISION)
    config.text_config.update(TEXT)
    config.image_seq_length, config.tie_word_embeddings = (SIDE // PATCH) ** 2, False
    # For what is not drawn below: transformers draws some biases, too.
    torch.manual_seed(SEED)
    model: Any = LlavaForConditionalGeneration(config)
    dice = torch.Generator().manual_seed(SEED)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            scale = 1.0 if "embed_tokens" in name else GAIN * weight[0].numel() ** -0.5
            weight.data = torch.randn(weight.shape, generator=dice) * scale
    word = torch.zeros(VOCABULARY, dtype=torch.bool)
    for piece, number in vocabulary.items():
        word[number] = piece.startswith(SPACE) and len(piece) > 1
    model.lm_head.weight.data[~word] *= QUIET
    model.generation_config = GenerationConfig.from_pretrained(TINY)
    model.generation_config.max_new_tokens = LONGEST
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, *copy = map(Path, sys.argv[1:])
    if copy:
        rename_for_vllm(source, copy[0])
    else:
        build(source)
