"""What transformers asks of torchvision and num2words, for a machine without them.

Several processors are not even built without a part for videos, which only torchvision can give, though few
tests show a video. All of this steps aside where the packages are installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import processing_utils
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models import pixtral
from transformers.models.auto import video_processing_auto
from transformers.models.pixtral import image_processing_pil_pixtral
from transformers.models.smolvlm import processing_smolvlm
from transformers.utils.import_utils import is_torchvision_available

from tests.support.families.torchvision_stand_in import video_processor

HIDDEN = "transformers.models.pixtral.image_processing_pixtral"


VIDEO_PROCESSORS = {
    "Gemma4VideoProcessor": "gemma4",
    "LlavaNextVideoVideoProcessor": "llava_next_video",
    "LlavaOnevisionVideoProcessor": "llava_onevision",
    "Qwen2VLVideoProcessor": "qwen2_vl",
    "Qwen3VLVideoProcessor": "qwen3_vl",
    "SmolVLMVideoProcessor": "smolvlm",
}


class NoVideos(BaseImageProcessor):
    """A video processor that is never called."""

    num_frames = fps = 1

    @classmethod
    def from_pretrained(cls, folder: Any, *_: object, **more: Any) -> Any:  # type: ignore[override]
        """The one that the folder names, if any."""
        saved = json.loads((Path(folder) / "processor_config.json").read_text(encoding="utf-8"))
        name = saved.get("video_processor", {}).get("video_processor_type")
        if name not in VIDEO_PROCESSORS:
            return cls()
        return video_processor(VIDEO_PROCESSORS[name], name).from_pretrained(folder, **more)


def videos(config: type[Any]) -> Any:
    """The part of a processor that takes videos, for the models of one configuration."""
    if is_torchvision_available():
        mapping: Any = video_processing_auto.VIDEO_PROCESSOR_MAPPING
        return mapping[config]["torchvision"]()
    loaders: Any = processing_utils.MODALITY_TO_AUTOPROCESSOR_MAPPING
    loaders._MAPPING_NAMES["video_processor"] = (__name__, NoVideos.__name__)
    processing_utils.MODALITY_TO_BASE_CLASS_MAPPING["video_processor"] = "ImageProcessingMixin"
    return NoVideos()


def number_words() -> None:
    """SmolVLM's processor spells the number of a video's frames."""
    module: Any = processing_smolvlm
    if module.num2words is None:
        module.num2words = str


def pixtral_processor() -> Any:
    """The processor itself: transformers hides it where torchvision is missing, of which it uses nothing."""
    package: Any = pixtral
    if is_torchvision_available():
        return package.PixtralProcessor
    sys.modules[HIDDEN] = image_processing_pil_pixtral
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor

    del sys.modules[HIDDEN]
    package.PixtralProcessor = PixtralProcessor
    return PixtralProcessor
