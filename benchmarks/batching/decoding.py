"""A step of the engine that batches compared with a step of plain `generate()`, in one process, without HTTP.

`generate()` decodes the same prompts as one static batch. `python -m benchmarks.batching.decoding MODEL DTYPE
ROWS TOKENS ROUNDS` prints JSON: for each round ms of an engine's step, and of the network's forward pass in
`generate()`.
"""

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image as Pictures
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.batching.questions import FOLDERS, question
from shared.models import Model
from shared.request import Image, Message, Parameters, Request, Text
from worker.engines.base import Row
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.runner import Runner
from worker.engines.loading.loaded import LoadedModel

FEWEST = 8
"""Fewest steps of the whole batch that give a figure."""
Times = dict[str, float]


@contextmanager
def timed(owner: Any, name: str, is_step: Callable[..., bool]) -> Iterator[Times]:
    """Time each call of a function that is a step of all rows; at the end there are medians in ms.

    A step lasts from the beginning of one pass to that of the next. On a GPU a forward pass is over once it
    is queued. Raises ValueError if the rows were hardly ever together.
    """
    function, times = getattr(owner, name), Times()
    passes: list[tuple[bool, float, float]] = []

    @wraps(function)
    def noted(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = function(*given, **named)
        passes.append((is_step(*given, **named), began, time.perf_counter()))
        return result

    with patch.object(owner, name, noted):
        yield times
    pairs = [(one, after) for one, after in pairwise(passes) if one[0] and after[0]]
    if len(pairs) < FEWEST:
        raise ValueError(f"only {len(pairs)} steps of all rows were seen")
    times["step_ms"] = round(median(after[1] - one[1] for one, after in pairs) * 1e3, 3)
    times["forward_ms"] = round(median(one[2] - one[1] for one, _ in pairs) * 1e3, 3)


class Decoding:
    """One model in one number format, and as many questions as rows."""

    def __init__(self, name: str, dtype: str, rows: int, tokens: int, device: str = "cpu") -> None:
        self._rows, self._tokens = rows, tokens
        folder, asked = FOLDERS[name], [question(number) for number in range(rows)]
        pictures = [Pictures.open(io.BytesIO(one.picture)).convert("RGB") for one in asked]
        self._questions = [(picture, one.text) for picture, one in zip(pictures, asked, strict=True)]
        processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self._inputs = processor.apply_chat_template(
            [_chat(*one) for one in self._questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        )
        # Ready for inference: from_pretrained() calls eval().
        plain: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._plain = plain.to(device)
        row = {"id": "bench", "source": str(folder), "dtype": dtype, "rows": rows, "device": device}
        model = Model.model_validate({**row, "engine": "continuous", "max_new_tokens": tokens})
        self._engine = ContinuousEngine(model)
        self._engine.start(LoadedModel(model))

    @torch.inference_mode()
    def generate(self) -> Times:
        """Time a step of `generate()`, which continues past the end of an answer."""
        network, shape = self._plain, (self._rows, 1)
        limits = {"max_new_tokens": self._tokens, "min_new_tokens": self._tokens}
        inputs = self._inputs.to(network.device, dtype=network.dtype)
        with timed(network, "forward", lambda **named: tuple(named["input_ids"].shape) == shape) as times:
            network.generate(**inputs, **limits, do_sample=False)
        return times

    def engine(self) -> Times:
        """Time a step of the engine, all rows together."""

        def is_step(_: Runner, tokens: Sequence[int], chunks: Sequence[Any] = ()) -> bool:
            return len(tokens) == self._rows and not chunks

        with timed(Runner, "step", is_step) as times, ThreadPoolExecutor(self._rows) as pool:
            list(pool.map(self._ask, self._questions))
        return times

    def _ask(self, question: tuple[Pictures.Image, str]) -> None:
        picture, text = question
        parameters = Parameters(temperature=0, max_new_tokens=self._tokens, ignore_eos=True)
        message = Message(role="user", parts=(Image(), Text(text=text)))
        request = Request(model="bench", messages=(message,), parameters=parameters)
        prompt = self._engine.prepare(request, [picture])
        self._engine.generate(Row(prompt, request.parameters, lambda _: None, threading.Event()))


def _chat(picture: Pictures.Image, text: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, dtype = sys.argv[1:3]
    rows, tokens, rounds = map(int, sys.argv[3:])
    decoding = Decoding(name, dtype, rows, tokens)
    steps = [(decoding.engine()["step_ms"], decoding.generate()["forward_ms"]) for _ in range(rounds)]
    print(json.dumps(steps))
