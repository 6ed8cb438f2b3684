"""The few functions of torchvision with which transformers' video processors prepare frames, made of torch.

For a machine without torchvision, so that their own code (sampling, cutting into patches, timestamps) runs in
tests all the same. Nothing else learns of it: transformers goes on without torchvision.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

import torch
from PIL.Image import Resampling
from transformers import image_processing_backends, utils, video_processing_utils
from transformers.utils.import_utils import is_torchvision_available

NAMES = ("torchvision", "torchvision.transforms", "torchvision.transforms.v2")


class InterpolationMode(Enum):
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


def video_processor(model: str, name: str) -> type[Any]:
    """The video processor's class of this name, of transformers' folder of a model."""
    with provided():
        module = importlib.import_module(f"transformers.models.{model}.video_processing_{model}")
    found: type[Any] = getattr(module, name)
    return found


@contextmanager
def provided() -> Iterator[None]:
    """torchvision for the imports in the block."""
    if is_torchvision_available():
        yield
        return
    named: Any = utils
    package, before = _package(), (named.is_torchvision_available, named.is_torchvision_v2_available)
    sys.modules.update(package)
    named.is_torchvision_available = named.is_torchvision_v2_available = lambda: True
    try:
        for user in (image_processing_backends, video_processing_utils):
            user.tvF = package["torchvision.transforms.v2.functional"]  # type: ignore[attr-defined]
        modes = {Resampling[mode.name]: mode for mode in InterpolationMode}
        vars(image_processing_backends)["pil_torch_interpolation_mapping"] = modes
        yield
    finally:
        named.is_torchvision_available, named.is_torchvision_v2_available = before
        for name in package:
            del sys.modules[name]


def _package() -> dict[str, ModuleType]:
    functional: Any = ModuleType("torchvision.transforms.v2.functional")
    functional.InterpolationMode = InterpolationMode
    for function in (resize, normalize, grayscale_to_rgb, crop, pad, to_dtype):
        setattr(functional, function.__name__, function)
    package = {name: ModuleType(name) for name in NAMES}
    for outer, inner in zip(NAMES, (*NAMES[1:], functional.__name__), strict=True):
        setattr(package[outer], inner.rpartition(".")[2], package.get(inner, functional))
    return {**package, functional.__name__: functional}


def resize(
    image: torch.Tensor, size: Sequence[int], interpolation: InterpolationMode, antialias: bool = True
) -> torch.Tensor:
    mode = "bilinear" if interpolation is InterpolationMode.BILINEAR else "bicubic"
    frames = image.reshape(-1, *image.shape[-3:]).float()
    resized = torch.nn.functional.interpolate(frames, size=tuple(size), mode=mode, antialias=antialias)
    if image.dtype == torch.uint8:
        resized = resized.round().clamp(0, 255)
    return resized.to(image.dtype).reshape(*image.shape[:-2], *size)


def normalize(image: torch.Tensor, mean: Any, std: Any, inplace: bool = False) -> torch.Tensor:  # noqa: ARG001
    means, deviations = (torch.as_tensor(value, dtype=image.dtype)[:, None, None] for value in (mean, std))
    normal: torch.Tensor = (image - means) / deviations
    return normal


def grayscale_to_rgb(image: torch.Tensor) -> torch.Tensor:
    return image


def to_dtype(image: torch.Tensor, dtype: torch.dtype, *, scale: bool) -> torch.Tensor:
    raise NotImplementedError("transparent frames are in no test")


def crop(image: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    return image[..., top : top + height, left : left + width]


def pad(
    image: torch.Tensor, padding: Sequence[int], fill: int = 0, padding_mode: str = "constant"
) -> torch.Tensor:
    left, top, right, bottom = padding
    return torch.nn.functional.pad(image, (left, right, top, bottom), mode=padding_mode, value=fill)
