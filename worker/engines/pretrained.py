"""A model folder's processor and network, by transformers' Auto classes."""

from pathlib import Path
from typing import Any

import transformers

from shared.errors import ModelFailed
from shared.models import Model


def pretrained(model: Model, folder: Path) -> tuple[Any, Any]:
    """Code in the folder runs only where the models file trusts it.

    Raises ModelFailed where it is needed and not trusted, and whatever transformers raises.
    """
    auto: Any = transformers
    trust = {"trust_remote_code": model.trust_remote_code}
    try:
        processor = auto.AutoProcessor.from_pretrained(folder, **trust)
        config = auto.AutoConfig.from_pretrained(folder, **trust)
        network = getattr(auto, _network_class(config)).from_pretrained(
            folder, dtype=model.dtype, attn_implementation=model.attention, **trust
        )
    except ValueError as error:
        if model.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise ModelFailed(
            f"model {model.id}: its folder brings code of its own, which runs only with "
            "trust_remote_code = true in the models file; read that code first."
        ) from None
    return processor, network


def _network_class(config: Any) -> str:
    """Folders with code of their own may name it as a language model's, pictures or not (Phi-3.5-vision)."""
    named = getattr(config, "auto_map", None) or {}
    usual, older = "AutoModelForImageTextToText", "AutoModelForCausalLM"
    return older if older in named and usual not in named else usual
