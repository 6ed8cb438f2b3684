"""A step of the engine that batches compared with a step of plain `generate()`, in one process, without HTTP.

`python -m benchmarks.batching.decoding MODEL DTYPE ROWS TOKENS [ROUNDS]` prints JSON. A step lasts from the
beginning of one pass to that of the next, and the time between two passes is the loop's. On a GPU a pass
is over once it is queued. `generate()` decodes the same prompts as one static batch, once
with the network as transformers loads it and once with the engine's.
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
from PIL.Image import Image as Picture
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.batching.questions import SUBJECTS, Question, Subject, question
from shared.models import Model
from shared.request import Image, Message, Parameters, Request, Text
from worker.engines.base import Row
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.runner import Runner
from worker.engines.loading.loaded import LoadedModel

FEWEST = 8
"""Fewest steps of the whole batch that give a figure."""


class StepTimer:
    """Notes when each pass begins and ends, and whether it is a step of so many rows."""

    def __init__(self) -> None:
        self._passes: list[tuple[bool, float, float]] = []

    @contextmanager
    def over(self, owner: Any, name: str, is_step: Callable[..., bool]) -> Iterator[None]:
        """Time each call of a function."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = function(*given, **named)
            self._passes.append((is_step(*given, **named), began, time.perf_counter()))
            return result

        with patch.object(owner, name, timed):
            yield

    def figures(self) -> dict[str, float]:
        """Return medians in ms. Raises ValueError if the rows were hardly ever together."""
        pairs = [(one, after) for one, after in pairwise(self._passes) if one[0] and after[0]]
        if len(pairs) < FEWEST:
            raise ValueError(f"only {len(pairs)} steps of all rows were seen")
        step = median(after[1] - one[1] for one, after in pairs)
        between = median(after[1] - one[2] for one, after in pairs)
        forward = median(one[2] - one[1] for one, _ in pairs)
        seconds = {"step_ms": step, "between_ms": between, "forward_ms": forward}
        return {"steps": len(pairs)} | {name: round(value * 1e3, 3) for name, value in seconds.items()}


class Decoding:
    """One model in one number format, and as many questions as rows."""

    def __init__(self, subject: Subject, dtype: str, rows: int, tokens: int, device: str = "cpu") -> None:
        self._rows, self._tokens = rows, tokens
        self._questions = [question(number) for number in range(rows)]
        self._inputs = _static_batch(subject, self._questions)
        row = {"id": "bench", "source": str(subject.folder), "dtype": dtype, "rows": rows, "device": device}
        model = Model.model_validate({**row, "engine": "continuous", "max_new_tokens": tokens})
        # Ready for inference: from_pretrained() calls eval().
        plain: Any = AutoModelForImageTextToText.from_pretrained(subject.folder, dtype=getattr(torch, dtype))
        self.plain = plain.to(device)
        self.loaded, self._engine = LoadedModel(model), ContinuousEngine(model)
        self._engine.start(self.loaded)

    @torch.inference_mode()
    def generate(self, network: Any) -> dict[str, float]:
        """Time a step of `generate()`, which continues past the end of an answer."""
        timer, shape = StepTimer(), (self._rows, 1)
        limits = {"max_new_tokens": self._tokens, "min_new_tokens": self._tokens}
        inputs = self._inputs.to(network.device, dtype=network.dtype)
        with timer.over(network, "forward", lambda **named: tuple(named["input_ids"].shape) == shape):
            network.generate(**inputs, **limits, do_sample=False)
        return timer.figures()

    def engine(self) -> dict[str, float]:
        """Time a step of the engine, all rows together."""
        timer = StepTimer()

        def is_step(_: Runner, tokens: Sequence[int], chunks: Sequence[Any] = ()) -> bool:
            return len(tokens) == self._rows and not chunks

        with timer.over(Runner, "step", is_step), ThreadPoolExecutor(self._rows) as pool:
            list(pool.map(self._ask, self._questions))
        return timer.figures()

    def _ask(self, question: Question) -> None:
        parameters = Parameters(temperature=0, max_new_tokens=self._tokens, ignore_eos=True)
        message = Message(role="user", parts=(Image(), Text(text=question.text)))
        request = Request(model="bench", messages=(message,), parameters=parameters)
        prompt = self._engine.prepare(request, [_picture(question)])
        self._engine.generate(Row(prompt, request.parameters, lambda _: None, threading.Event()))


def measure(subject: Subject, dtype: str, rows: int, tokens: int, device: str = "cpu") -> dict[str, Any]:
    decoding = Decoding(subject, dtype, rows, tokens, device)
    # What a device chooses and captures at first belongs to no step.
    for _ in range(1 if device == "cpu" else 2):
        plain = decoding.generate(decoding.plain)
        ours = decoding.engine()
        own = decoding.generate(decoding.loaded.network)
    return {
        "rows": rows,
        "tokens": tokens,
        "generate": plain,
        "generate_on_our_network": own,
        "engine": ours,
        "speed_over_generate": round(min(plain["step_ms"], own["step_ms"]) / ours["step_ms"], 3),
        "loop_share": round(ours["between_ms"] / ours["step_ms"], 4),
    }


def _static_batch(subject: Subject, questions: Sequence[Question]) -> Any:
    processor: Any = AutoProcessor.from_pretrained(subject.folder)  # type: ignore[no-untyped-call]
    contents = [
        [{"type": "image", "image": _picture(one)}, {"type": "text", "text": one.text}] for one in questions
    ]
    return processor.apply_chat_template(
        [[{"role": "user", "content": content}] for content in contents],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"padding": True, "return_tensors": "pt"},
    )


def _picture(question: Question) -> Picture:
    return Pictures.open(io.BytesIO(question.picture)).convert("RGB")


def measure_rounds(subject: Subject, dtype: str, rows: int, tokens: int, rounds: int) -> list[list[float]]:
    """Return ms of a step of the engine and of the forward pass of plain `generate()` in each round."""
    decoding = Decoding(subject, dtype, rows, tokens)
    return [
        [decoding.engine()["step_ms"], decoding.generate(decoding.plain)["forward_ms"]] for _ in range(rounds)
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, dtype = sys.argv[1:3]
    rows, tokens, *rounds = map(int, sys.argv[3:])
    arguments = (SUBJECTS[name], dtype, rows, tokens)
    print(json.dumps(measure_rounds(*arguments, *rounds) if rounds else measure(*arguments)))
