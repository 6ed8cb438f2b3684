"""The shipped model behind the engine that batches, and beside it the one that does not, as the measure."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.models import Model
from tests.engines import suite
from tests.support.clients import until
from worker.engines.base import Finish
from worker.engines.continuous import loop
from worker.engines.continuous import verify as proof
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.prefill import FlatRows, Prefill
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.continuous.verify import Certificate, verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create

TINY = Path(__file__).parents[3] / "models" / "tiny"
ROWS = 4
LONG: dict[str, Any] = {"temperature": 4.0, "max_new_tokens": 40, "min_new_tokens": 40}
"""The shipped model answers in a few words; it is made to say more."""


@dataclass(frozen=True)
class Question:
    """What one caller asks; answers of very different length come of it."""

    number: int
    parameters: dict[str, Any]

    @property
    def text(self) -> str:
        return "What do we see in this image? " * (self.number % 3) + f"Tell {self.number}."

    @property
    def pictures(self) -> list[Any]:
        return [suite.picture(colour) for colour in ("red", "blue")[: self.number % 3]]

    def ask(self, engine: suite.Harness, **more: Any) -> Finish:
        return engine.ask(self.text, self.pictures, **{**self.parameters, **more})[0]


MANY_QUESTIONS = tuple(
    Question(
        number,
        {
            "seed": number,
            "temperature": (0.0, 1.5, 4.0)[number % 3],
            "top_p": (None, 0.95)[number % 2],
            "top_k": (None, 40, 0)[number % 3],
            "repetition_penalty": (None, 1.3)[number % 2],
            "frequency_penalty": (None, None, 0.7)[number % 3],
            "presence_penalty": (None, 0.4)[number % 2],
            "min_p": (None, None, None, 0.02)[number % 4],
            "typical_p": (None, None, 0.9, None, None)[number % 5],
            "logit_bias": (None, ((74, 9.0), (411, -100.0)))[number // 3 % 2],
            "stop_token_ids": (None, None, (22, 382))[number // 2 % 3],
            "logprobs": (None, 3, 0)[(number + number // 3) % 3],
            "min_new_tokens": (None, 8 + 6 * (number % 5))[number % 2],
            "max_new_tokens": 8 + 6 * (number % 5),
            "ignore_eos": (None, None, None, None, True)[number % 5],
        },
    )
    for number in range(12)
)
QUESTIONS = MANY_QUESTIONS[: ROWS + 2]
"""So many that two wait in line; among them each parameter has all its values."""


def strangers(questions: Sequence[Question], name: str) -> list[Question]:
    """The same questions, of callers who have nothing to do with each other, and so computed whole."""
    return [
        replace(question, parameters={**question.parameters, "scope": f"{name} {number}"})
        for number, question in enumerate(questions)
    ]


def tiny(**fields: Any) -> Model:
    given = {"engine": "continuous", "rows": ROWS, "max_new_tokens": 48, "dtype": "float32", **fields}
    return Model(id="test/tiny", source=str(TINY), **given)


PROOFS: dict[tuple[Any, ...], Certificate] = {}
"""Of the shipped model, by how it is loaded; those who test the proof itself let the engine make it anew."""


@contextmanager
def proved_once() -> Iterator[None]:
    """Who loads the shipped model in here is not kept waiting for its proof a second time."""

    def known(loaded: LoadedModel, *, reuse: bool) -> Certificate:
        model = loaded.model
        way = (model.dtype, model.attention, model.device, model.packed, reuse, vars(proof)["capturable"])
        if way not in PROOFS:
            PROOFS[way] = verify(loaded, reuse=reuse)
        return PROOFS[way]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.engines.continuous.engine.verify", known)
        yield


def loaded(**fields: Any) -> suite.Harness:
    with proved_once():
        return suite.Harness(create(tiny(**fields)).load())


@pytest.fixture(scope="session")
def alone() -> suite.Harness:
    return loaded(engine="sequential", rows=1)


@pytest.fixture(scope="session")
def answers(alone: suite.Harness) -> list[Finish]:
    """What each question is answered by itself."""
    return [question.ask(alone) for question in QUESTIONS]


@pytest.fixture(scope="session")
def shipped() -> LoadedModel:
    return LoadedModel(tiny())


@pytest.fixture(scope="session")
def harness(shipped: LoadedModel) -> suite.Harness:
    return started(shipped)


@pytest.fixture
def fresh(shipped: LoadedModel) -> suite.Harness:
    """An engine that a test may break."""
    return started(shipped)


def started(shipped: LoadedModel, **fields: Any) -> suite.Harness:
    engine = ContinuousEngine(tiny(**fields))
    with proved_once():
        engine.start(shipped)
    return suite.Harness(engine)


def engine_of(harness: suite.Harness) -> ContinuousEngine:
    assert isinstance(harness.engine, ContinuousEngine)
    return harness.engine


def drop_idle(harness: suite.Harness) -> None:
    """On a GPU, what only graphs keep would be given back before anything else."""
    loop = engine_of(harness)._loop
    if not loop._running:
        loop._runner.clear()


def crowd(harness: suite.Harness, callers: Sequence[Callable[[], Finish]]) -> list[Future[Finish]]:
    """In their order, each from a thread of its own; ended when this returns. None begins before all came."""
    line = engine_of(harness)._loop._line
    waiting, futures, complete = line.waiting, list[Future[Finish]](), threading.Event()

    def come() -> int:
        return len(line._waiting) + sum(future.done() for future in futures)

    def all_waiting() -> list[TokenSequence]:
        if come() >= len(callers):
            complete.set()
        return waiting() if complete.is_set() else []

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(callers)) as pool:
        patch.setattr(line, "waiting", all_waiting)
        for ask in callers:
            futures.append(pool.submit(ask))
            until(lambda: complete.is_set() or come() >= len(futures))
        wait(futures)
    return futures


def asks(harness: suite.Harness, questions: Sequence[Question]) -> list[Callable[[], Finish]]:
    return [partial(question.ask, harness) for question in questions]


def crowded(harness: suite.Harness, questions: Sequence[Question] = QUESTIONS) -> list[Finish]:
    return [future.result() for future in crowd(harness, asks(harness, questions))]


def fail(
    patch: pytest.MonkeyPatch, where: Any, name: str, error: Exception, when: Callable[..., object]
) -> None:
    """What is called `name` raises the error whenever what it is called with is so."""
    real = getattr(where, name)

    def failing(*given: Any, **named: Any) -> Any:
        if when(*given, **named):
            raise error
        return real(*given, **named)

    patch.setattr(where, name, failing)


def scarce(patch: pytest.MonkeyPatch, where: Any, name: str, when: Callable[..., object]) -> None:
    """It finds no memory then."""
    fail(patch, where, name, torch.OutOfMemoryError("CUDA out of memory."), when)


def noted(
    patch: pytest.MonkeyPatch, where: Any, name: str, what: Callable[..., Any] = lambda *_, **__: None
) -> list[Any]:
    """What is to be told of each call of what is called `name`, by what it is called with."""
    real, told = getattr(where, name), list[Any]()

    @wraps(real)
    def calling(*given: Any, **named: Any) -> Any:
        told.append(what(*given, **named))
        return real(*given, **named)

    patch.setattr(where, name, calling)
    return told


def _spans(_: FlatRows | None, chunks: Sequence[tuple[Prefill, int]]) -> list[tuple[int, int]]:
    return [(prefill.done, end) for prefill, end in chunks]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """Where the prompts of each pass over prompts alone began and ended."""
    return noted(monkeypatch, loop, "flat_pass", _spans)


def shown_to_encoder(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the model's own encoder takes."""
    base = engine_of(harness)._loaded.network.base_model
    return noted(monkeypatch, base, "get_image_features", lambda *_, **named: len(named["pixel_values"]))
