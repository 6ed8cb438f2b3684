"""A GPU's captured steps answer as the model does alone; here what is captured is computed call by call."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import crowded, tiny
from tests.engines.continuous.test_verify_reuse import family
from tests.support.device import DEVICE
from worker.engines.base import Finish
from worker.engines.continuous import engine as continuous
from worker.engines.continuous.captured_step import CapturedSteps, FixedLayer, FixedStep
from worker.engines.continuous.kv_cache import AlignedLayer
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create

FIXED = (
    *("llava", "llava-onevision", "internvl", "idefics3", "smolvlm", "qwen2-vl", "qwen2.5-vl", "qwen3-vl"),
    *("mistral3", "paligemma", "idefics2", "qwen2.5-vl-sliding", "gemma3", "gemma4", "llama4"),
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        monkeypatch.setattr(batching, "capturable", lambda _: True)
        monkeypatch.setattr(CapturedSteps, "_apart", (None, None))
        monkeypatch.setattr(FixedStep, "capture", lambda self, *_: self.compute())
        monkeypatch.setattr(FixedStep, "replay", FixedStep.compute)


@pytest.mark.parametrize("name", FIXED)
def test_a_family_with_a_cache_of_columns_is_captured(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert verify(family(name, tmp_path_factory.getbasetemp())).captured


@pytest.mark.parametrize("name", ["qwen3.5", "lfm2-vl"])
def test_one_with_recurrent_states_is_computed_call_by_call(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert not verify(family(name, tmp_path_factory.getbasetemp())).captured


def columns_not_in_use_are_seen(patch: pytest.MonkeyPatch) -> None:
    write = FixedStep.write

    def careless(self: FixedStep, *what: Any) -> None:
        write(self, *what)
        self._starts.zero_()

    patch.setattr(FixedStep, "write", careless)


def positions_are_those_of_the_capture(patch: pytest.MonkeyPatch) -> None:
    write = FixedStep.write

    def once(self: FixedStep, tokens: Any, positions: torch.Tensor, *rest: Any) -> None:
        self._first = getattr(self, "_first", positions)  # type: ignore[attr-defined]
        write(self, tokens, self._first[..., :1, :].expand_as(positions), *rest)  # type: ignore[attr-defined]

    patch.setattr(FixedStep, "write", once)


def what_is_written_lands_in_one_column(patch: pytest.MonkeyPatch) -> None:
    update = FixedLayer.update

    def stuck(self: FixedLayer, *states: Any) -> Any:
        self._column.fill_(1)
        return update(self, *states)

    patch.setattr(FixedLayer, "update", stuck)


def memory_behind_the_rows_holds_nonsense(patch: pytest.MonkeyPatch) -> None:
    moved = AlignedLayer._moved

    def dirty(self: AlignedLayer, old: torch.Tensor, rows: int, columns: int, shift: int, *how: Any) -> Any:
        made = moved(self, old, rows, columns, shift, *how)
        made[:, :, self._window.end + shift :] = torch.nan
        return made

    patch.setattr(AlignedLayer, "_moved", dirty)


@pytest.mark.parametrize(
    "flaw",
    [
        columns_not_in_use_are_seen,
        positions_are_those_of_the_capture,
        what_is_written_lands_in_one_column,
        memory_behind_the_rows_holds_nonsense,
    ],
)
def test_a_model_whose_captured_steps_would_answer_otherwise_goes_without(
    flaw: Callable[[pytest.MonkeyPatch], None],
    shipped: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaw(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert not verify(shipped).captured
    assert "steps of this model are computed call by call: " in caplog.text


def test_code_that_cannot_be_captured_is_found_at_load(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capture(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(FixedStep, "capture", capture)
    assert not verify(shipped).captured


def test_answers_that_come_and_go_are_the_same_with_captured_steps(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[CapturedSteps]()

    def kept(network: Any) -> CapturedSteps:
        made.append(CapturedSteps(network))
        return made[-1]

    monkeypatch.setattr(continuous, "CapturedSteps", kept)
    assert crowded(suite.Harness(create(tiny()).load())) == answers
    assert made[0].captured
    assert not made[0].failed
