"""LLaVA as small as it goes: a SigLIP eye, a two-layer projector, a Llama to speak. 1.8 million parameters.

A Swin eye, measured for comparison, learnt no faster per second.
"""

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.siglip import SiglipVisionModel

from training import attention
from training.pixels import GRID, PATCH, SIDE

EYE_WIDTH = 128
LONGEST_ANSWER = 48


def eye_config() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=EYE_WIDTH,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )


def new_eye() -> SiglipVisionModel:
    """An untrained vision tower. Its patch positions start as sines, so that neighbours are alike at once."""
    eye = SiglipVisionModel(eye_config())
    eye.set_attn_implementation("eager")
    eye.embeddings.position_embedding.weight.data.copy_(_grid_of_sines())
    return eye


def _grid_of_sines() -> torch.Tensor:
    quarter = EYE_WIDTH // 4
    rates = 1.5 / 8 ** (torch.arange(quarter) / quarter)
    waves = torch.arange(GRID)[:, None] * rates
    line = torch.cat([waves.sin(), waves.cos()], -1)
    rows, columns = line.repeat_interleave(GRID, 0), line.repeat(GRID, 1)
    return 0.5 * torch.cat([rows, columns], -1)


def new_model(vocabulary: int, image: int, end: int, pad: int) -> LlavaForConditionalGeneration:
    """The whole model, untrained.

    How attention is computed is not stored with the weights.
    """
    speaker = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )
    config = LlavaConfig(
        vision_config=eye_config(),
        text_config=speaker,
        image_token_index=image,
        image_seq_length=GRID**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        pad_token_id=pad,  # type: ignore[call-arg]
        eos_token_id=end,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=LONGEST_ANSWER, eos_token_id=end, pad_token_id=pad
    )
    model.model.vision_tower.set_attn_implementation("eager")
    model.model.language_model.set_attn_implementation(attention.NAME)
    return model
