"""Image processors for the two families that have none but torchvision's: simpler, with the same tensors."""

from typing import Any

import numpy as np
from transformers import AutoImageProcessor, PreTrainedConfig
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils.import_utils import is_torchvision_available

from tests.support.families.family import SQUARE, hf

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
