"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5: pictures of any size, positions in three dimensions."""

from typing import Any

from tests.support.families.family import hf, text
from tests.support.families.stand_ins import videos
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id

NAMES = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
EYE = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}


def qwen2_vl() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(**NAMES)
    eye = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    config = hf.Qwen2VLConfig(text_config=_text(tokenizer), vision_config=eye, **_ids(tokenizer))
    return hf.Qwen2VLForConditionalGeneration(config), _processor(config, hf.Qwen2VLProcessor, tokenizer, 14)


def qwen2_5_vl() -> tuple[Any, Any]:
    return _qwen2_5_vl()


def qwen2_5_vl_sliding() -> tuple[Any, Any]:
    """The first layer attends to everything, the second through a window shorter than the prompts."""
    return _qwen2_5_vl(use_sliding_window=True, sliding_window=10, max_window_layers=1)


def _qwen2_5_vl(**more: Any) -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(**NAMES)
    eye = {**EYE, "fullatt_block_indexes": [1], "window_size": 56}
    config = hf.Qwen2_5_VLConfig(text_config=_text(tokenizer, **more), vision_config=eye, **_ids(tokenizer))
    return hf.Qwen2_5_VLForConditionalGeneration(config), _processor(
        config, hf.Qwen2_5_VLProcessor, tokenizer, 14
    )


def qwen3_vl() -> tuple[Any, Any]:
    """Features of early vision layers are added deep in the text model."""
    tokenizer = byte_tokenizer(**NAMES)
    eye = {**EYE, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "patch_size": 16}
    config = hf.Qwen3VLConfig(text_config=_text(tokenizer, head_dim=16), vision_config=eye, **_ids(tokenizer))
    return hf.Qwen3VLForConditionalGeneration(config), _processor(config, hf.Qwen3VLProcessor, tokenizer, 16)


def qwen3_5() -> tuple[Any, Any]:
    """Every other layer keeps a state instead of keys and values."""
    tokenizer = byte_tokenizer(**NAMES)
    linear = {
        "num_hidden_layers": 4,
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    config = hf.Qwen3_5Config(
        text_config=_text(tokenizer, **linear),
        vision_config={**EYE, "num_position_embeddings": 64, "patch_size": 16},
        **_ids(tokenizer),
    )
    return hf.Qwen3_5ForConditionalGeneration(config), _processor(config, hf.Qwen3VLProcessor, tokenizer, 16)


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    if "layer_types" in more:
        rope["partial_rotary_factor"] = 1.0
    return text(tokenizer, rope_parameters=rope, **more)


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {f"{name}_id": token_id(tokenizer, token) for name, token in NAMES.items()} | {
        "tie_word_embeddings": False
    }


def _processor(config: Any, kind: Any, tokenizer: Any, patch: int) -> Any:
    pictures = hf.Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": (2 * patch) ** 2 * 2, "longest_edge": (2 * patch) ** 2 * 8}
    )
    return kind(pictures, tokenizer, videos(type(config)), chat_template=chat_template(PICTURE))
