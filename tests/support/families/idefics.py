"""Idefics2, Idefics3 and SmolVLM: pictures on an axis of their own, cut into tiles."""

from typing import Any

from tests.support.families.family import EYE, hf, text
from tests.support.families.stand_ins import number_words, videos
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id

TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
MARKS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *TILES)
SIZES = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}


def idefics2() -> tuple[Any, Any]:
    """Every layer has a sliding window, shorter than the prompts."""
    tokenizer = byte_tokenizer()
    processor = hf.Idefics2Processor(
        hf.Idefics2ImageProcessorPil(size={"shortest_edge": 14, "longest_edge": 28}),
        tokenizer,
        image_seq_len=4,
        chat_template=chat_template("<image>"),
    )
    config = hf.Idefics2Config(
        text_config=hf.MistralConfig(**text(tokenizer, sliding_window=12)),
        vision_config=dict(EYE),
        image_token_id=token_id(tokenizer, "<image>"),
        perceiver_config={
            "hidden_size": 64,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
            "num_key_value_heads": 1,
        },
        tie_word_embeddings=False,
    )
    return hf.Idefics2ForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(*MARKS)
    processor = hf.Idefics3Processor(
        hf.Idefics3ImageProcessorPil(**SIZES),
        tokenizer,
        image_seq_len=4,
        chat_template=chat_template("<image>"),
    )
    return hf.Idefics3ForConditionalGeneration(_config(hf.Idefics3Config, tokenizer)), processor


def smolvlm() -> tuple[Any, Any]:
    number_words()
    tokenizer = byte_tokenizer(*MARKS)
    processor = hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessorPil(**SIZES),
        tokenizer,
        videos(hf.SmolVLMConfig),
        image_seq_len=4,
        chat_template=chat_template("<image>"),
    )
    return hf.SmolVLMForConditionalGeneration(_config(hf.SmolVLMConfig, tokenizer)), processor


def _config(kind: Any, tokenizer: Any) -> Any:
    return kind(
        text_config=hf.LlamaConfig(**text(tokenizer)),
        vision_config=dict(EYE),
        image_token_id=token_id(tokenizer, "<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
    )
