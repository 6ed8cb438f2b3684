from typing import Any

from transformers import LlavaForConditionalGeneration

from .configuration_toy import ToyConfig


class ToyForConditionalGeneration(LlavaForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Answers with the tokens that LLaVA finds least likely."""

    config_class = ToyConfig

    def forward(
        self, input_ids: Any = None, pixel_values: Any = None, attention_mask: Any = None, **kwargs: Any
    ) -> Any:
        outputs = super().forward(input_ids, pixel_values, attention_mask, **kwargs)
        outputs.logits = -outputs.logits
        return outputs
