"""Asks a saved model the way every user of Transformers does: apply_chat_template, generate, decode."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from training.cases import Case


class Asker:
    def __init__(self, folder: Path) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self._model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)

    def answer(self, messages: list[dict[str, Any]], begun: str = "") -> str:
        """What follows what is `begun`: in a form, the value up to its closing mark, or all and "…"."""
        inputs = self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        if begun:
            given = self._processor.tokenizer(begun, add_special_tokens=False, return_tensors="pt")
            for name, more in given.items():
                inputs[name] = torch.cat([inputs[name], more], dim=-1)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs)
        text: str = self._processor.decode(
            tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        if not begun:
            return text.strip()
        value, closing, _ = text.partition('"')
        return value if closing else f"{value}…"


def messages(case: Case) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for one in case.asked:
        pictures = [{"type": "image", "image": scene.image} for scene in one.pictures]
        said.append({"role": "user", "content": [*pictures, {"type": "text", "text": one.question}]})
        if one is not case.asked[-1]:
            said.append({"role": "assistant", "content": [{"type": "text", "text": one.answer}]})
    return said
