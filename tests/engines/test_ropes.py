"""Rotary positions that stretch with the longest request: transformers keeps them stretched."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

from tests.engines import suite
from tests.engines.continuous.conftest import TINY, tiny
from worker.engines.registry import create
from worker.engines.sequential import Ropes

MADE_FOR = 8
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1000.0}
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "max_position_embeddings": MADE_FOR,
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> suite.Harness:
    """The shipped model as if it had been made for few tokens, and stretched to more."""
    folder = Path(shutil.copytree(TINY, tmp_path_factory.mktemp("dynamic") / "model"))
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["text_config"] |= {"max_position_embeddings": MADE_FOR, "rope_parameters": DYNAMIC}
    file.write_text(json.dumps(config), encoding="utf-8")
    engine = create(tiny(engine="auto", context_length=512).model_copy(update={"source": str(folder)})).load()
    assert engine.name == "sequential"
    return suite.Harness(engine)


def test_an_answer_does_not_depend_on_how_long_somebody_elses_question_was(harness: suite.Harness) -> None:
    before, _ = harness.ask("What color is the shape, please?", max_new_tokens=8)
    harness.ask("Look at all of it. " * 50, max_new_tokens=1)
    after, _ = harness.ask("What color is the shape, please?", max_new_tokens=8)
    assert (after.ids, after.score) == (before.ids, before.score)


def test_positions_begin_as_they_were_at_load_also_where_layers_have_several() -> None:
    plain = {"rope_type": "default", "rope_theta": 1000.0}
    by_layer = {"sliding_attention": plain, "full_attention": DYNAMIC}
    config = Gemma3TextConfig(**SIZES, layer_types=list(by_layer), rope_parameters=by_layer)
    layers, x = Gemma3RotaryEmbedding(config), torch.zeros(1)
    rope, ropes = partial(layers, layer_type="full_attention"), Ropes(torch.nn.Sequential(layers))
    asked, longer = (torch.arange(MADE_FOR * times)[None] for times in (2, 8))
    due = rope(x, asked)[0]
    rope(x, longer)
    assert not torch.equal(rope(x, asked)[0], due)
    for _ in range(2):
        ropes.begin()
        assert torch.equal(rope(x, asked)[0], due)
        rope(x, longer)
