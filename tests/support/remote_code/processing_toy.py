from typing import Any

from transformers import LlavaProcessor


class ToyProcessor(LlavaProcessor):
    """Reads everything in small letters."""

    def __call__(self, images: Any = None, text: Any = None, **how: Any) -> Any:
        return super().__call__(
            images=images, text=[one.lower() for one in ([text] if isinstance(text, str) else text)], **how
        )
