"""Makes the middle-sized model of the benchmark: `python -m benchmarks.batching.models FOLDER`.

A LLaVA with random weights from a fixed seed: 196 tokens a picture, 107 million parameters to speak with. Its
answers end at the limit that was asked for, never before, and every token of them is one word: so all servers
compute the same number of tokens, and a stream that was cut off can be counted.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from benchmarks.frame.services import TINY
from training.model import ASSISTANT, END, IMAGE, MARKS, PAD, USER, token_id

TEMPLATE = TINY / "chat_template.jinja"
VOCABULARY, LENGTH, LONGEST = 32_000, 2048, 128
SIDE, PATCH = 224, 16
SEED = 1
# More than the usual 1 / sqrt(inputs): with less, greedy text soon repeats one word.
GAIN = 1.5
QUIET = 0.01
SPACE = "\u0120"
"""How a byte-level tokenizer writes a space."""
WEIGHTS = "model.safetensors"
HEADS, TAILS = (*"bcdfghklmnprstvwz", "st", "tr", "ch"), (*"aeiou", "ai", "ou")
"""What invented words are put together from."""


def build(folder: Path) -> None:
    """Weights, tokenizer and processor; about a minute, 270 MB."""
    tokenizer = _tokenizer()
    pictures = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=TEMPLATE.read_text(),
    )
    model = _model(tokenizer)
    processor.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)


def rename_for_vllm(source: Path, folder: Path) -> None:
    """The same model with its vision tower's weights named as vLLM 0.32 looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and file.name != WEIGHTS:
            (folder / file.name).write_bytes(file.read_bytes())
    tensors = {_name_for_vllm(name): tensor for name, tensor in load_file(source / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _name_for_vllm(name: str) -> str:
    return name.replace("vision_tower.", "vision_tower.vision_model.", 1)


def _words(dice: random.Random) -> list[str]:
    drawn = (
        "".join(dice.choice(HEADS) + dice.choice(TAILS) for _ in range(dice.randint(1, 4)))
        for _ in range(60_000)
    )
    return list(dict.fromkeys(drawn))


def _sentences() -> Iterator[str]:
    dice = random.Random(SEED)  # noqa: S311
    words = _words(dice)
    for _ in range(12_000):
        yield " ".join(dice.choices(words, k=40))


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, USER, ASSISTANT, IMAGE, *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        model_max_length=LENGTH,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )


def _config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    ends = {"pad_token_id": token_id(tokenizer, PAD), "eos_token_id": token_id(tokenizer, END)}
    vision = SiglipVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=2304,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=False,
        bos_token_id=None,
        **ends,  # type: ignore[arg-type]
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_id(tokenizer, IMAGE),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
        **ends,  # type: ignore[arg-type]
    )


def _model(tokenizer: PreTrainedTokenizerFast) -> Any:
    # For what `_draw` leaves out: transformers draws some biases, too.
    torch.manual_seed(SEED)
    model: Any = LlavaForConditionalGeneration(_config(tokenizer))
    _draw(model, tokenizer)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=LONGEST,
        pad_token_id=token_id(tokenizer, PAD),
        eos_token_id=token_id(tokenizer, END),
    )
    return model


def _draw(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """Weights under which an answer depends on the whole prompt, and is made of words alone."""
    dice = torch.Generator().manual_seed(SEED)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            scale = 1.0 if "embed_tokens" in name else GAIN * weight[0].numel() ** -0.5
            weight.data = torch.randn(weight.shape, generator=dice) * scale
    word = torch.zeros(VOCABULARY, dtype=torch.bool)
    for piece, number in tokenizer.get_vocab().items():
        word[number] = piece.startswith(SPACE) and len(piece) > 1
    model.lm_head.weight.data[~word] *= QUIET


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, *twin = map(Path, sys.argv[1:])
    if twin:
        rename_for_vllm(source, twin[0])
    else:
        build(source)
