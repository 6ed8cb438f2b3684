"""The mark that stands for a picture in a raw prompt's text, where the processor does not write it itself."""

from typing import Any

from PIL import Image as Pictures

SIZE = (64, 64)


def mark_of(processor: Any) -> str:
    """What the processor replaces by a picture's tokens; "" if it puts them there by itself."""
    # Kosmos 2 has it only as the beginning of an image.
    mark = getattr(processor, "image_token", None) or getattr(processor, "boi_token", None) or ""
    # The processors of BLIP-2 and InstructBLIP hold a token of the tokenizer's own kind, and write it.
    if not isinstance(mark, str):
        return ""
    # Florence-2's writes one, too, and refuses another.
    return mark if not mark or _takes(processor, mark) or not _takes(processor, "") else ""


def _takes(processor: Any, mark: str) -> bool:
    picture = Pictures.new("RGB", SIZE, "gray")
    try:
        processor(text=[f"{mark}x"], images=[[picture]], return_tensors="pt")
    except Exception:  # Whatever a family's own code raises.
        return False
    return True
