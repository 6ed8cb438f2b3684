from transformers import LlavaConfig


class ToyConfig(LlavaConfig):  # type: ignore[no-untyped-call]
    model_type = "toy-vision"
