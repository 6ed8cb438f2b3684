import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.models import Model
from shared.settings import PictureSettings, Settings, SettingsError
from tests.engines import several, suite, telling
from tests.engines.conftest import TINY
from tests.support.device import DEVICE
from worker.engines.base import DeviceBroken
from worker.engines.registry import create
from worker.engines.sampling.processors import LogitsError
from worker.engines.sequential import SequentialEngine


def tiny(source: Path = TINY, **fields: Any) -> Model:
    given = {"engine": "sequential", "max_new_tokens": 48, "dtype": "float32", **fields}
    return Model(id="test/tiny", source=str(source), **given)


@pytest.fixture(scope="module")
def harness() -> suite.Harness:
    engine = create(tiny()).load()
    return suite.Harness(engine)


@pytest.mark.parametrize(
    "check", [*suite.CHECKS, *telling.CHECKS, *several.CHECKS], ids=lambda check: check.__name__
)
def test_sequential_keeps_the_contract(
    check: Callable[[suite.Harness], None], harness: suite.Harness
) -> None:
    check(harness)


@pytest.mark.parametrize("seed", range(3))
def test_streams_of_random_bytes_hold_no_broken_character(harness: suite.Harness, seed: int) -> None:
    engine: Any = harness.engine
    finish, pieces = harness.ask("Hello", temperature=30.0, top_k=0, seed=seed, max_new_tokens=200)
    whole = engine._loaded.tokenizer.decode(list(finish.ids), skip_special_tokens=True)
    assert "".join(p.text for p in pieces) == finish.text == whole


def test_a_picture_placeholder_is_never_generated() -> None:
    engine: Any = create(tiny()).load()
    placeholder = engine._loaded.network.config.image_token_id
    engine._loaded.network.lm_head.register_forward_hook(
        lambda _layer, _inputs, logits: logits.index_fill(-1, torch.tensor([placeholder], device=DEVICE), 1e4)
    )
    finish, _ = suite.Harness(engine).ask("Hello", [suite.picture()])
    assert finish.ids
    assert placeholder not in finish.ids


@pytest.mark.parametrize("seeds", [(1, 2, 3), (None, None, None)])
def test_draws_differ_by_their_seeds_and_without_any(
    harness: suite.Harness, seeds: tuple[int | None, ...]
) -> None:
    answers = {harness.ask("Hello", temperature=6.0, seed=seed, max_new_tokens=20)[0].ids for seed in seeds}
    assert len(answers) == 3


def test_a_temperature_close_to_zero_is_greedy(harness: suite.Harness) -> None:
    greedy, _ = harness.ask(harness.question, [suite.picture()])
    assert harness.ask(harness.question, [suite.picture()], temperature=1e-300)[0].ids == greedy.ids


def test_an_answer_tells_how_sure_the_model_was(harness: suite.Harness) -> None:
    sure, _ = harness.ask("What color is the shape?", [suite.picture()])
    drawn, _ = harness.ask("Hello", temperature=5.0, seed=1, max_new_tokens=20)
    assert sure.score is not None
    assert drawn.score is not None
    assert 0.9 < sure.score <= 1
    assert 0 <= drawn.score < 0.5


def test_facts_come_from_the_model_and_yield_to_the_models_file(harness: suite.Harness) -> None:
    facts = harness.engine.facts
    assert (facts.context_length, facts.samples) == (2048, False)
    short = SequentialEngine(tiny(context_length=100)).load()
    assert short.facts.context_length == 100


def test_a_changed_file_changes_the_fingerprint(harness: suite.Harness, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    same = create(tiny(copy)).load()
    assert same.fingerprint == harness.engine.fingerprint
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    changed = create(tiny(copy)).load()
    assert changed.fingerprint != harness.engine.fingerprint


def test_pictures_shrunk_to_another_size_never_share_the_cache(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Settings(pictures=PictureSettings(max_side=512))
    monkeypatch.setattr("worker.engines.loading.language.settings", lambda: small)
    other = create(tiny()).load()
    assert other.fingerprint != harness.engine.fingerprint


def test_a_load_time_is_guessed_from_the_rate_at_which_the_weights_are_read(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as weights:
        weights.truncate(10**13)  # a hole: no disk holds it, none reads it within a second
    seconds, basis = create(tiny(tmp_path)).load_guess()
    assert basis == "read_rate"
    assert seconds > 31
    assert create(tiny(tmp_path / "gone")).load_guess() == (30.0, "guess")


def test_an_option_in_error_is_refused() -> None:
    with pytest.raises(SettingsError, match="no options"):
        create(tiny(options={"rows": 3}))


@pytest.mark.parametrize("parameters", [{}, {"temperature": 0.5}, {"repetition_penalty": 1.3}])
def test_a_model_that_computes_nonsense_is_not_blamed_on_the_callers_parameters(
    harness: suite.Harness, parameters: dict[str, Any]
) -> None:
    """Nobody is told to change a request that is right: it is the model that somebody has to look at."""
    engine: Any = harness.engine
    spoil = engine._loaded.network.register_forward_hook(nonsense)
    try:
        with pytest.raises(LogitsError):
            harness.ask("hi", **parameters)
    finally:
        spoil.remove()


def nonsense(_network: Any, _inputs: Any, outputs: Any) -> None:
    outputs.logits.fill_(torch.nan)


def test_a_broken_device_is_no_request_s_fault_and_the_worker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take all work of its model, and fail it."""
    broken = suite.Harness(create(tiny()).load())
    row = broken.row("What is this?", [])

    def fail(_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    monkeypatch.setattr(broken.engine, "_generate", fail)
    assert not broken.engine.broken
    for _ in range(2):
        with pytest.raises(DeviceBroken, match="illegal memory access"):
            broken.engine.generate(row)
    assert broken.engine.broken
