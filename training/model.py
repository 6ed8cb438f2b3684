"""The model as models/tiny describes it, untrained, with its tokenizer and processor.

LLaVA as small as it goes: a SigLIP vision tower, a two-layer projector, a Llama. 1.8 million parameters. A
Swin vision tower, measured for comparison, learnt no faster per second. The tokenizer is byte-level BPE: any
UTF-8 goes in. Digits stand alone and runs of capitals are split letter by letter: a text in a picture is
spelled, never recognised as a whole.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.models.llava import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.siglip import SiglipVisionConfig, SiglipVisionModel

from training.patches import GRID, WIDTH, pixel_batch
from training.scene import Scene

TINY = Path(__file__).parents[1] / "models" / "tiny"
PAD, END, USER, ASSISTANT, IMAGE = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<image>"
MARKS = ("<|img1|>", "<|img2|>", "<|img3|>", "<|img4|>")
VOCABULARY = 1024


def new_vision_tower() -> SiglipVisionModel:
    """Untrained. Its patch positions start as sines, so that neighbours are alike at once."""
    tower = SiglipVisionModel(SiglipVisionConfig.from_pretrained(TINY))
    tower.set_attn_implementation("eager")
    tower.embeddings.position_embedding.weight.data.copy_(_grid_of_sines())
    return tower


def _grid_of_sines() -> torch.Tensor:
    """(patches, WIDTH)"""
    quarter = WIDTH // 4
    rates = 1.5 / 8 ** (torch.arange(quarter) / quarter)
    waves = torch.arange(GRID)[:, None] * rates
    line = torch.cat([waves.sin(), waves.cos()], -1)
    rows, columns = line.repeat_interleave(GRID, 0), line.repeat(GRID, 1)
    return 0.5 * torch.cat([rows, columns], -1)


def tower_features(tower: SiglipVisionModel, rng: random.Random, scenes: list[Scene]) -> torch.Tensor:
    """(pictures, patches, WIDTH)"""
    features: torch.Tensor = tower(pixel_batch(rng, scenes), output_hidden_states=True).hidden_states[-1]
    return features


def new_model() -> LlavaForConditionalGeneration:
    """The whole model, untrained. How attention is computed is not stored with the weights."""
    model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(TINY))
    model.generation_config = GenerationConfig.from_pretrained(TINY)
    model.model.vision_tower.set_attn_implementation("eager")
    return model


def new_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Splits texts as the shipped one does, and learns its tokens from `texts`."""
    shipped = PreTrainedTokenizerFast.from_pretrained(TINY)
    tokenizer: PreTrainedTokenizerFast = shipped.train_new_from_iterator(
        texts, VOCABULARY, min_frequency=12, show_progress=False
    )
    return tokenizer


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return int(tokenizer.get_vocab()[token])


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    processor = LlavaProcessor.from_pretrained(TINY)
    processor.tokenizer = tokenizer
    return processor
