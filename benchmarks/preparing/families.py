"""Three families of models: processors of the published sizes over tiny networks; and pages to show.

Qwen2.5-VL (2,714 tokens for a page of 1275 x 1650), LLaVA-1.5 (576 for any picture), SmolVLM2-2.2B (17 parts
of 384 x 384, 1,377). The tokenizer has 8,000 pieces, learnt from this repository's pages.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Image as Picture
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.support.families.family import EYE, TEXT, hf
from tests.support.families.stand_ins import number_words, videos
from tests.support.families.tokens import END, PAD, START, chat_template, token_id
from tests.support.families.weights import sharpen

PIECES = 8000
CONTEXT_LENGTH = 32768
QUESTION = (
    "Read this page. Give its title, its date, every amount with its currency, and one sentence of summary. "
)
Built = tuple[Any, Any]


def qwen() -> Built:
    names = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    words = tokenizer(**names)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    eye = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    config = hf.Qwen2_5_VLConfig(
        text_config=text(words, rope_parameters=rope),
        vision_config={**eye, "fullatt_block_indexes": [1], "window_size": 112},
        tie_word_embeddings=False,
        **{f"{name}_id": token_id(words, token) for name, token in names.items()},
    )
    size = {"shortest_edge": 4 * 784, "longest_edge": 16384 * 784}
    pictures = image_processor("Qwen2VLImageProcessor")(patch_size=14, size=size)
    template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    processor = hf.Qwen2_5_VLProcessor(pictures, words, videos(type(config)), chat_template=template)
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def llava(**more: Any) -> Built:
    """`more` of the language model's config."""
    words = tokenizer(**{"image_token": "<image>"})
    config = hf.LlavaConfig(
        text_config=hf.LlamaConfig(**text(words, **more)),
        vision_config=hf.CLIPVisionConfig(**{**EYE, "image_size": 336, "patch_size": 14}),
        image_token_index=token_id(words, "<image>"),
        vision_feature_layer=-2,
        tie_word_embeddings=False,
    )
    sizes = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    processor = hf.LlavaProcessor(
        image_processor("CLIPImageProcessor")(**sizes),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>\n"),
    )
    return hf.LlavaForConditionalGeneration(config), processor


def smolvlm() -> Built:
    number_words()
    tiles = (f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tiles)
    words = tokenizer(*marks)
    config = hf.SmolVLMConfig(
        text_config=hf.LlamaConfig(**text(words)),
        vision_config={**EYE, "image_size": 384, "patch_size": 14},
        image_token_id=token_id(words, "<image>"),
        scale_factor=3,
        tie_word_embeddings=False,
    )
    sizes = {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}}
    processor = hf.SmolVLMProcessor(
        image_processor("SmolVLMImageProcessor")(**sizes),
        words,
        videos(hf.SmolVLMConfig),
        image_seq_len=81,
        chat_template=chat_template("<image>"),
    )
    return hf.SmolVLMForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[..., Built]] = {"qwen": qwen, "llava": llava, "smolvlm": smolvlm}


def stand_in() -> None:
    """Let processors be loaded where the packages are missing that only videos need."""
    number_words()
    videos(hf.SmolVLMConfig)


def image_processor(name: str) -> Any:
    """Torchvision's where that is installed, as the image for workers has it, else Pillow's."""
    return getattr(hf, name, None) or getattr(hf, f"{name}Pil")


def save(family: str, folder: Path, dtype: torch.dtype = torch.float32, **more: Any) -> None:
    """The model's folder, with random weights; `more` as the family takes it."""
    torch.manual_seed(0)
    network, processor = FAMILIES[family](**more)
    words = processor.tokenizer
    sharpen(network, end=[token_id(words, END)], pad=token_id(words, PAD), seed=0)
    network.to(dtype).save_pretrained(folder)
    processor.save_pretrained(folder)


def text(words: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    """The language model's config."""
    ids = {
        f"{name}_token_id": token_id(words, token)
        for name, token in zip(("pad", "bos", "eos"), (PAD, START, END), strict=True)
    }
    return {**TEXT, "vocab_size": len(words), "max_position_embeddings": CONTEXT_LENGTH, **ids, **more}


def tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False)
    words.train([str(page) for page in sorted(Path("docs").rglob("*.md"))], trainer)
    words.add_special_tokens([PAD, START, END, "<|user|>", "<|assistant|>", *special, *named.values()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        padding_side="left",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=dict(named),
    )


def page(size: tuple[int, int], number: int) -> bytes:
    """A JPEG of text and a photograph on paper with grain: it compresses as a scanned page does."""
    width, height = size
    dice = np.random.default_rng(number)
    paper = dice.normal(244, 3, (height, width, 1)).repeat(3, 2).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(paper)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=max(12, height // 90))
    words = QUESTION.split()
    for y in range(height // 30, height - 30, max(14, height // 75)):
        line = " ".join(words[int(at)] for at in dice.integers(0, len(words), 16))
        draw.text((width // 20, y), line, fill=(20, 20, 40), font=font)
    picture.paste(_photograph(dice, width // 3, height // 4), (width // 2, height // 2))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _photograph(dice: np.random.Generator, width: int, height: int) -> Picture:
    rough = dice.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
