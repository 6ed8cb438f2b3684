"""Mistral3 (Pixtral's eye), Llama 4, LFM2-VL, and Mllama, whose pictures are attended to from aside."""

from typing import Any

from tests.support.families.family import EYE, SQUARE, hf, text
from tests.support.families.stand_in_pictures import lfm2_pictures, llama4_pictures
from tests.support.families.stand_ins import pixtral_processor
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id


def mistral3() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = hf.Mistral3Config(
        text_config=hf.MistralConfig(**text(tokenizer, head_dim=16, sliding_window=None)),
        vision_config=hf.PixtralVisionConfig(**{**EYE, "image_size": 56}, head_dim=16),
        image_token_index=token_id(tokenizer, "[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = pixtral_processor()(
        hf.PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size={"height": 7, "width": 7}),
        tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=chat_template("[IMG]"),
    )
    return hf.Mistral3ForConditionalGeneration(config), processor


def llama4() -> tuple[Any, Any]:
    """Chunked attention beside full attention without positions, and a mixture of experts."""
    marks = ("image", "image_start", "image_end", "patch", "tile_x_separator", "tile_y_separator")
    tokenizer = byte_tokenizer(*(f"<|{mark}|>" for mark in marks))
    config = hf.Llama4Config(
        text_config=text(
            tokenizer,
            intermediate_size_mlp=96,
            head_dim=16,
            num_local_experts=2,
            attention_chunk_size=16,
            layer_types=["chunked_attention", "full_attention"],
            no_rope_layers=[1, 0],
            interleave_moe_layer_step=1,
        ),
        vision_config={
            **EYE,
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
            "pixel_shuffle_ratio": 0.5,
        },
        image_token_index=token_id(tokenizer, "<|patch|>"),
        tie_word_embeddings=False,
    )
    processor = hf.Llama4Processor(
        llama4_pictures(),
        tokenizer,
        patch_size=7,
        chat_template=chat_template("<|image|>"),
    )
    return hf.Llama4ForConditionalGeneration(config), processor


def lfm2_vl() -> tuple[Any, Any]:
    """A convolution beside attention."""
    tokenizer = byte_tokenizer(
        image_token="<image>",
        image_start_token="<|image_start|>",
        image_end_token="<|image_end|>",
        image_thumbnail_token="<|img_thumbnail|>",
    )
    speaker = text(
        tokenizer,
        num_hidden_layers=4,
        layer_types=["conv", "full_attention"] * 2,
        block_auto_adjust_ff_dim=False,
    )
    config = hf.Lfm2VlConfig(
        text_config=hf.Lfm2Config(**speaker),
        vision_config={**{k: EYE[k] for k in EYE if k != "image_size"}, "num_patches": 16},
        image_token_id=token_id(tokenizer, "<image>"),
        projector_hidden_size=64,
        downsample_factor=2,
        tie_word_embeddings=False,
    )
    processor = hf.Lfm2VlProcessor(
        lfm2_pictures(),
        tokenizer,
        chat_template=chat_template("<image>"),
    )
    return hf.Lfm2VlForConditionalGeneration(config), processor


def mllama() -> tuple[Any, Any]:
    """Pictures are no tokens: cross-attention layers keep their keys, and no placeholder is counted."""
    tokenizer = byte_tokenizer("<|python_tag|>", image_token="<|image|>")
    config = hf.MllamaConfig(
        text_config=text(
            tokenizer,
            num_hidden_layers=3,
            cross_attention_layers=[1],
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 7,
            "max_num_tiles": 2,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        },
        image_token_index=token_id(tokenizer, "<|image|>"),
        tie_word_embeddings=False,
    )
    processor = hf.MllamaProcessor(
        hf.MllamaImageProcessorPil(size=SQUARE, max_image_tiles=2),
        tokenizer,
        chat_template=chat_template("<|image|>"),
    )
    return hf.MllamaForConditionalGeneration(config), processor
