"""A step of the engine that batches beside a step of plain `generate()`, in one process and without HTTP:
`python -m benchmarks.batching.decoding MODEL DTYPE ROWS TOKENS` prints one JSON object.

Both are timed by hooks around the network's forward pass: a step lasts from the beginning of one pass to that
of the next, and the time between two passes is the loop's. `generate()` decodes the same prompts as one
static batch, once with the network as transformers loads it and once with the engine's.
"""

import io
import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from PIL import Image as Pictures
from PIL.Image import Image as Picture
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.batching.questions import SUBJECTS, Asked, Subject
from shared.models import Model
from shared.request import Image, Message, Parameters, Request, Text
from worker.engines.base import Row
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.loading.loaded import LoadedModel

FEWEST = 8
"""Fewest steps of the whole batch that give a figure."""


class Watch:
    """Notes when the network begins and ends each pass that is a step of so many rows."""

    def __init__(self, network: Any, rows: int) -> None:
        self._rows = rows
        self._passes: list[tuple[bool, float, float]] = []
        self._hooks = (
            network.register_forward_pre_hook(self._begin, with_kwargs=True),
            network.register_forward_hook(self._end),
        )

    def figures(self) -> dict[str, float]:
        """Medians in ms. Raises ValueError where the rows were hardly ever together."""
        for hook in self._hooks:
            hook.remove()
        pairs = [(one, after) for one, after in pairwise(self._passes) if one[0] and after[0]]
        if len(pairs) < FEWEST:
            raise ValueError(f"only {len(pairs)} steps of {self._rows} rows were seen")
        step = median(after[1] - one[1] for one, after in pairs)
        between = median(after[1] - one[2] for one, after in pairs)
        return {"step_ms": step * 1e3, "between_ms": between * 1e3, "steps": len(pairs)}

    def _begin(self, _network: Any, _arguments: Any, named: dict[str, Any]) -> None:
        ids = named.get("input_ids")
        self._is_step = ids is not None and tuple(ids.shape) == (self._rows, 1)
        self._began = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self._passes.append((self._is_step, self._began, time.perf_counter()))


def measure(subject: Subject, dtype: str, rows: int, tokens: int) -> dict[str, Any]:
    asked = [subject.ask(number) for number in range(rows)]
    inputs = _static_batch(subject, asked)
    # Ready for inference: from_pretrained() calls eval().
    network = AutoModelForImageTextToText.from_pretrained(subject.folder, dtype=getattr(torch, dtype))
    plain = _generate(network, inputs, rows, tokens)
    del network
    loaded, engine = _engine(subject, dtype, rows, tokens)
    watch = Watch(loaded.network, rows)
    with ThreadPoolExecutor(rows) as pool:
        list(pool.map(lambda one: _ask(engine, one, tokens), asked))
    ours = watch.figures()
    own = _generate(loaded.network, inputs, rows, tokens)
    return {
        "rows": rows,
        "tokens": tokens,
        "generate": _rounded(plain),
        "generate_on_our_network": _rounded(own),
        "engine": _rounded(ours),
        "speed_over_generate": round(min(plain["step_ms"], own["step_ms"]) / ours["step_ms"], 3),
        "loop_share": round(ours["between_ms"] / ours["step_ms"], 4),
    }


def _static_batch(subject: Subject, asked: Sequence[Asked]) -> Any:
    processor: Any = AutoProcessor.from_pretrained(subject.folder)  # type: ignore[no-untyped-call]
    talks = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": _picture(one)}, {"type": "text", "text": one.text}],
            }
        ]
        for one in asked
    ]
    return processor.apply_chat_template(
        talks,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"padding": True, "return_tensors": "pt"},
    )


@torch.inference_mode()
def _generate(network: Any, inputs: Any, rows: int, tokens: int) -> dict[str, float]:
    watch = Watch(network, rows)
    network.generate(**inputs.to(dtype=network.dtype), max_new_tokens=tokens, do_sample=False)
    return watch.figures()


def _engine(subject: Subject, dtype: str, rows: int, tokens: int) -> tuple[LoadedModel, ContinuousEngine]:
    row = {"id": "bench", "source": str(subject.folder), "dtype": dtype, "rows": rows}
    model = Model.model_validate({**row, "engine": "continuous", "max_new_tokens": tokens})
    loaded, engine = LoadedModel(model), ContinuousEngine(model)
    engine.start(loaded)
    return loaded, engine


def _ask(engine: ContinuousEngine, asked: Asked, tokens: int) -> None:
    parts = (Image(), Text(text=asked.text))
    request = Request(
        model="bench",
        messages=(Message(role="user", parts=parts),),
        parameters=Parameters(temperature=0, max_new_tokens=tokens),
    )
    prompt = engine.prepare(request, [_picture(asked)])
    engine.generate(Row(prompt, request.parameters, lambda _: None, threading.Event()))


def _picture(asked: Asked) -> Picture:
    return Pictures.open(io.BytesIO(asked.picture)).convert("RGB")


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, dtype, rows, tokens = sys.argv[1:]
    print(json.dumps(measure(SUBJECTS[name], dtype, int(rows), int(tokens))))
