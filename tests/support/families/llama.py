"""Mistral3 (Pixtral's eye), Llama 4, LFM2-VL, and Mllama, whose pictures are attended to from aside."""

from typing import Any

import numpy as np
from transformers import AutoImageProcessor, PreTrainedConfig
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils.import_utils import is_torchvision_available

from tests.support.families.family import EYE, SQUARE, hf, text
from tests.support.families.stand_ins import pixtral_processor
from tests.support.families.tokens import byte_tokenizer, chat_template, token_id

# Image processors for the two families that have none but torchvision's: simpler, with the same tensors.

WIDE = 1.5


class TiledPictures(PilBackend):
    """Like Llama 4's: a wide picture is two tiles and a small copy of the whole, any other is one tile."""

    model_input_names = ["pixel_values"]  # noqa: RUF012 - read as it stands by transformers
    do_resize = do_rescale = do_normalize = do_convert_rgb = True
    resample = PILImageResampling.BILINEAR
    image_mean = image_std = (0.5, 0.5, 0.5)

    def _preprocess(self, images: list[Any], size: Any, **how: Any) -> Any:  # type: ignore[override]
        tiles: list[Any] = []
        ratios: list[list[int]] = []
        for image in images:
            columns = 2 if _is_wide(image) else 1
            row = self.seen(image, size.height, columns * size.width, how)
            tiles += np.split(row, columns, axis=-1)
            tiles += [self.seen(image, size.height, size.width, how)] * (columns > 1)
            ratios.append([1, columns])
        data = {"pixel_values": np.stack(tiles), "aspect_ratios": ratios}
        return hf.BatchFeature(data=data, tensor_type=how["return_tensors"])

    def seen(self, image: Any, height: int, width: int, how: dict[str, Any]) -> Any:
        small = self.resize(image, SizeDict(height=height, width=width), resample=how["resample"])
        return self.normalize(self.rescale(small, how["rescale_factor"]), how["image_mean"], how["image_std"])


class PatchedKwargs(ImagesKwargs, total=False):
    return_row_col_info: bool


class PatchedPictures(TiledPictures):
    """Like LFM2-VL's: rows of patches, fewer for a wide picture, filled up to the most there can be."""

    model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012
    valid_kwargs = PatchedKwargs
    encoder_patch_size, downsample_factor, tile_size, use_thumbnail = 7, 2, 28, False

    def _preprocess(self, images: list[Any], size: Any, **how: Any) -> Any:  # type: ignore[override]
        sizes = [(size.height // (2 if _is_wide(i) else 1), size.width) for i in images]
        rows = [self._patches(image, *side, how) for image, side in zip(images, sizes, strict=True)]
        most = size.height * size.width // self.encoder_patch_size**2
        data = {
            "pixel_values": np.stack([np.pad(r, ((0, most - len(r)), (0, 0))) for r in rows]),
            "pixel_attention_mask": np.stack([np.arange(most) < len(r) for r in rows]).astype(np.int64),
            "spatial_shapes": np.array(sizes) // self.encoder_patch_size,
            "image_rows": [1] * len(images),
            "image_cols": [1] * len(images),
            "image_sizes": [list(side) for side in sizes],
        }
        return hf.BatchFeature(data=data, tensor_type=how["return_tensors"])

    def _patches(self, image: Any, height: int, width: int, how: dict[str, Any]) -> Any:
        patch = self.encoder_patch_size
        cut = self.seen(image, height, width, how).reshape(3, height // patch, patch, width // patch, patch)
        return cut.transpose(1, 3, 2, 4, 0).reshape(-1, patch * patch * 3)


class TiledConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Image processors are registered by configuration, and found by their own names."""


class PatchedConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """No model's configuration either."""


def llama4_pictures() -> Any:
    if is_torchvision_available():
        return hf.Llama4ImageProcessor(size=SQUARE, max_patches=2)
    AutoImageProcessor.register(TiledConfig, image_processor_classes={"pil": TiledPictures}, exist_ok=True)
    return TiledPictures(size=SQUARE)


def lfm2_pictures() -> Any:
    if is_torchvision_available():
        limits = {"tile_size": 28, "min_image_tokens": 2, "max_image_tokens": 4}
        return hf.Lfm2VlImageProcessor(encoder_patch_size=7, do_image_splitting=False, **limits)
    classes: Any = {"pil": PatchedPictures}
    AutoImageProcessor.register(PatchedConfig, image_processor_classes=classes, exist_ok=True)
    return PatchedPictures(size=SQUARE)


def _is_wide(image: Any) -> bool:
    return bool(image.shape[-1] > WIDE * image.shape[-2])


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
