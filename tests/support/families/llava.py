"""LLaVA and its likes: a tower's features in place of placeholder tokens."""

from typing import Any

from tests.support.families.family import EYE, SQUARE, hf, text
from tests.support.families.stand_ins import videos
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id


def llava() -> tuple[Any, Any]:
    return calling(chat_template("<image>"))


def calling(template: str, *marks: str) -> tuple[Any, Any]:
    """A LLaVA with this chat template, whose tokenizer has these marks as tokens of their own."""
    tokenizer = byte_tokenizer(*marks, image_token="<image>")
    config = hf.LlavaConfig(
        text_config=hf.Qwen2Config(**text(tokenizer)),
        vision_config=hf.SiglipVisionConfig(**EYE),
        image_token_index=token_id(tokenizer, "<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = hf.LlavaProcessor(
        hf.SiglipImageProcessorPil(size=SQUARE),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="full",
        chat_template=template,
    )
    return hf.LlavaForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(image_token="<image>", video_token="<video>")
    pinpoints = [[28, 28], [28, 56], [56, 28]]
    config = hf.LlavaOnevisionConfig(
        text_config=hf.Qwen2Config(**text(tokenizer)),
        vision_config=hf.SiglipVisionConfig(**EYE),
        image_token_index=token_id(tokenizer, "<image>"),
        video_token_index=token_id(tokenizer, "<video>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=pinpoints,
        tie_word_embeddings=False,
    )
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=pinpoints),
        tokenizer,
        videos(hf.LlavaOnevisionConfig),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<image>"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = hf.InternVLConfig(
        text_config=hf.Qwen2Config(**text(tokenizer)),
        vision_config={**EYE, "image_size": [28, 28], "patch_size": [7, 7]},
        image_token_id=token_id(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessorPil(size=SQUARE, min_patches=1, max_patches=2, crop_to_patches=True),
        tokenizer,
        videos(hf.InternVLConfig),
        image_seq_length=4,
        chat_template=chat_template("<IMG_CONTEXT>\n"),
    )
    return hf.InternVLForConditionalGeneration(config), processor


def paligemma() -> tuple[Any, Any]:
    """Without a template, as published: its prompts are prefixes. The processor widens the vocabulary."""
    tokenizer = byte_tokenizer()
    pictures = hf.SiglipImageProcessorPil(size=SQUARE)
    pictures.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(pictures, tokenizer)
    config = hf.PaliGemmaConfig(
        text_config=hf.GemmaConfig(**text(tokenizer, head_dim=16)),
        vision_config=hf.SiglipVisionConfig(**EYE, projection_dim=64),
        image_token_index=processor.image_token_id,
        projection_dim=64,
        tie_word_embeddings=False,
    )
    return hf.PaliGemmaForConditionalGeneration(config), processor
