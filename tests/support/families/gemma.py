"""Gemma 3 and Gemma 4: windows beside full attention; a picture's tokens see each other both ways."""

from typing import Any

from tests.support.families.family import EYE, SQUARE, hf, text
from tests.support.families.stand_ins import videos
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id

LAYERS = ["sliding_attention", "full_attention"] * 2


def gemma3() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )
    config = hf.Gemma3Config(
        text_config=text(tokenizer, num_hidden_layers=4, head_dim=16, sliding_window=8, layer_types=LAYERS),
        vision_config=dict(EYE),
        mm_tokens_per_image=16,
        image_token_index=token_id(tokenizer, "<image_soft_token>"),
        boi_token_index=token_id(tokenizer, "<start_of_image>"),
        eoi_token_index=token_id(tokenizer, "<end_of_image>"),
        tie_word_embeddings=False,
    )
    processor = hf.Gemma3Processor(
        hf.Gemma3ImageProcessorPil(size=SQUARE),
        tokenizer,
        image_seq_length=16,
        chat_template=chat_template("<start_of_image>"),
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


def gemma4() -> tuple[Any, Any]:
    return _gemma4(chat_template("<|image|>"), None)


def gemma4_listening() -> tuple[Any, Any]:
    """Gemma 4 that takes sounds as well."""
    template = chat_template("<|image|>").replace(
        "{% else %}", "{% elif part.type == 'audio' %}<|audio|>{% else %}", 1
    )
    ear = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "subsampling_conv_channels": [128, 4],
        "output_proj_dims": 48,
    }
    return _gemma4(template, ear)


def _gemma4(template: str, ear: dict[str, Any] | None) -> tuple[Any, Any]:
    """Its last layers share the keys and values of earlier ones, and each layer has embeddings of its own."""
    tokenizer = byte_tokenizer(
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    processor = hf.Gemma4Processor(
        hf.Gemma4AudioFeatureExtractor(),
        hf.Gemma4ImageProcessorPil(patch_size=4, pooling_kernel_size=2, max_soft_tokens=70),
        tokenizer,
        videos(hf.Gemma4Config),
        chat_template=template,
    )
    config = hf.Gemma4Config(
        text_config=_gemma4_text(tokenizer),
        vision_config={
            **{name: EYE[name] for name in EYE if name != "image_size"},
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=ear,
        image_token_id=token_id(tokenizer, "<|image|>"),
        video_token_id=token_id(tokenizer, "<|video|>"),
        audio_token_id=token_id(tokenizer, "<|audio|>"),
        boi_token_id=token_id(tokenizer, "<|image>"),
        eoi_token_id=token_id(tokenizer, "<image|>"),
        tie_word_embeddings=False,
    )
    return hf.Gemma4ForConditionalGeneration(config), processor


def _gemma4_text(tokenizer: Any) -> dict[str, Any]:
    return text(
        tokenizer,
        num_hidden_layers=4,
        head_dim=16,
        global_head_dim=16,
        sliding_window=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=len(tokenizer),
        num_kv_shared_layers=2,
        use_bidirectional_attention="vision",
        layer_types=LAYERS,
    )
