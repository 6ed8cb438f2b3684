"""Families that take videos, with transformers' video processors and templates that write a video's mark."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.families import gemma, idefics, llava, qwen
from tests.support.families.family import SQUARE, Family
from tests.support.families.stand_ins import VIDEO_PROCESSORS
from tests.support.families.tokens import chat_template
from tests.support.families.torchvision_stand_in import video_processor

QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def _moving(
    build: Callable[[], tuple[Any, Any]], name: str, settings: dict[str, Any], picture: str, video: str
) -> tuple[Any, Any]:
    network, processor = build()
    processor.video_processor = video_processor(VIDEO_PROCESSORS[name], name)(**settings)
    processor.chat_template = chat_template(picture, video)
    return network, processor


def _qwen(patch: int, **more: Any) -> dict[str, Any]:
    size = {"shortest_edge": (2 * patch) ** 2 * 2, "longest_edge": (2 * patch) ** 2 * 24}
    return {"patch_size": patch, "size": size, "cap_pixels_per_frame": False, **more}


def _family(
    name: str,
    build: Callable[[], tuple[Any, Any]],
    processor: str,
    settings: dict[str, Any],
    marks: tuple[str, str],
    seed: int = 0,
) -> Family:
    return Family(f"{name}-moving", partial(_moving, build, processor, settings, *marks), seed=seed)


QWEN_MARKS = qwen.PICTURE, QWEN_VIDEO
QWEN2 = "Qwen2VLVideoProcessor"
QWEN2_VL = _family("qwen2-vl", qwen.qwen2_vl, QWEN2, _qwen(14), QWEN_MARKS)
QWEN2_5_VL = _family("qwen2.5-vl", qwen.qwen2_5_vl, QWEN2, _qwen(14), QWEN_MARKS)
QWEN3_VL = _family("qwen3-vl", qwen.qwen3_vl, "Qwen3VLVideoProcessor", _qwen(16), QWEN_MARKS)
LLAVA_ONEVISION = _family(
    "llava-onevision",
    llava.llava_onevision,
    "LlavaOnevisionVideoProcessor",
    {"size": SQUARE},
    ("<image>", "<video>"),
)
SMOLVLM = _family(
    "smolvlm",
    idefics.smolvlm,
    "SmolVLMVideoProcessor",
    {
        "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 28},
        "num_frames": 6,
        "fps": 2,
        "do_sample_frames": True,
    },
    ("<image>", "<video>"),
)
GEMMA4 = _family(
    "gemma4",
    gemma.gemma4,
    "Gemma4VideoProcessor",
    {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70, "num_frames": 6},
    ("<|image|>", "<|video|>"),
)
MOVING = (QWEN2_VL, QWEN2_5_VL, QWEN3_VL, LLAVA_ONEVISION, SMOLVLM, GEMMA4)
