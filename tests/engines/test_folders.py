"""A model's folder that is not whole, or says what nothing can be drawn by, is refused with its own words."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import ModelFailed
from shared.model_files import weight_faults
from shared.models import Model
from tests.engines import suite
from tests.engines.continuous.conftest import TINY, proved_once, tiny
from tests.support.families import FAMILIES
from tests.support.families.family import Family, called
from worker.engines.base import Engine
from worker.engines.loading.dry_load import refusal
from worker.engines.registry import create

Weights = dict[str, torch.Tensor]
COLOUR = "What color is the shape?"
ENGINES = pytest.mark.parametrize("engine", ["continuous", "sequential"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def reweigh(folder: Path, change: Callable[[Weights], Weights]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def generation(folder: Path, **keys: Any) -> None:
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | keys), encoding="utf-8")


def loaded(folder: Path, **fields: Any) -> Engine:
    with proved_once():
        return create(tiny(**fields).model_copy(update={"source": str(folder)})).load()


@cache
def usual(engine: str) -> Engine:
    return loaded(TINY, engine=engine)


def ask(engine: Engine, **parameters: Any) -> str:
    return suite.Harness(engine).ask(COLOUR, [suite.picture()], **parameters)[0].text


def test_a_model_without_some_of_its_weights_is_never_served_with_others_drawn_at_random(
    folder: Path,
) -> None:
    reweigh(folder, lambda all: {name: one for name, one in all.items() if "layers.0.mlp" not in name})
    with pytest.raises(ModelFailed, match=r"test/tiny: its weights lack \d+ .*layers\.0\.mlp.*anew"):
        loaded(folder)


def test_a_model_without_weights_that_nobody_reads_is_served_as_ever(folder: Path) -> None:
    """Many checkpoints leave out what stands behind the layer of the vision tower that is shown."""
    reweigh(folder, lambda all: {name: one for name, one in all.items() if "post_layernorm" not in name})
    assert ask(loaded(folder)) == "Red"


def test_weights_of_another_shape_are_named_with_both(folder: Path) -> None:
    reweigh(folder, lambda all: {name: one[:-1] if "down_proj" in name else one for name, one in all.items()})
    with pytest.raises(
        ModelFailed, match=r"in another shape \d+ .*down_proj\.weight is \(\d+, \d+\), not \("
    ):
        loaded(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU that is there can be named")
@pytest.mark.parametrize(
    "fields",
    [{"device": "cuda"}, {"device_map": "cuda:0"}, {"device_map": {"": "cuda:0"}}, {"device_map": {"": 0}}],
)
def test_a_gpu_that_is_not_there_is_told_before_weights_are_read(
    folder: Path, fields: dict[str, Any]
) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFailed, match=r"model test/tiny, with device.* = .*(CUDA|NVIDIA|accelerator)"):
        loaded(folder, **fields)


@ENGINES
def test_a_model_whose_own_temperature_is_0_answers_as_if_a_caller_had_sent_it(
    folder: Path, engine: str
) -> None:
    generation(folder, do_sample=True, temperature=0.0)
    asked = loaded(folder, engine=engine)
    assert not asked.facts.samples
    assert ask(asked) == ask(asked, do_sample=True, seed=1) == "Red"


def test_defaults_in_other_servers_words_are_read_as_they_are_meant(folder: Path) -> None:
    generation(folder, do_sample=0, top_k=-1)
    assert ask(loaded(folder, engine="sequential"), temperature=1.0, seed=1) == "Red"
    generation(folder, temperature=2, repetition_penalty=2)
    assert ask(loaded(folder, engine="sequential"), do_sample=True, seed=1), "whole numbers for fractions"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"temperature": "hot"}, "has temperature = 'hot': .*number"),
        ({"temperature": -1}, "has temperature = -1: .*greater"),
        ({"top_k": 2.5}, "has top_k = 2.5: .*multiple of 1"),
        ({"do_sample": "yes"}, "has do_sample = 'yes': .*boolean"),
        ({"eos_token_id": "end"}, "has eos_token_id = 'end': .*integer"),
        ({"do_sample": False, "num_return_sequences": 2}, "is refused by .*num_return_sequences"),
        ({"do_sample": False, "cache_implementation": "none"}, "is refused by .*cache_implementation"),
    ],
)
def test_a_default_that_would_fail_every_request_is_named_before_the_model_serves(
    folder: Path, keys: dict[str, Any], words: str
) -> None:
    generation(folder, **keys)
    with pytest.raises(ModelFailed, match=rf"test/tiny: its generation_config\.json {words}"):
        loaded(folder)


JSONS = ("config", "generation_config", "preprocessor_config", "tokenizer", "tokenizer_config")


@pytest.mark.parametrize("name", [f"{name}.json" for name in JSONS])
@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("{", r"is not JSON \(.*\)"), ("[]", "is no JSON object")]
)
def test_a_broken_description_is_named_with_row_file_and_remedy(
    folder: Path, name: str, text: str, words: str
) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelFailed, match=rf"^model test/tiny: {name} {words}; get its files anew\.$"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("processor_config.json", r"there is no image processor \(preprocessor_config\.json\)"),
        ("tokenizer.json", r"there is no tokenizer \(tokenizer\.json\)"),
        ("model.safetensors", r"there are no weights \(model\.safetensors\)"),
    ],
)
def test_a_missing_file_is_named_with_row_and_remedy(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFailed, match=rf"^model test/tiny: {words}; get its files anew\.$"):
        loaded(folder)


def split(folder: Path, file: str) -> None:
    """The weights in two files, of which `file` is the second."""
    whole = load_file(folder / "model.safetensors")
    shards = {name: "one.safetensors" if "vision" in name else file for name in whole}
    for shard in set(shards.values()):
        save_file(
            {name: whole[name] for name in whole if shards[name] == shard}, folder / shard, {"format": "pt"}
        )
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def headed(offsets: str) -> bytes:
    """A file of one tensor that lies at these offsets."""
    head = f'{{"a.weight": {{"dtype": "F32", "shape": [1], "data_offsets": {offsets}}}}}'.encode()
    return len(head).to_bytes(8, "little") + head + bytes(4)


def cut(path: Path, bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(bytes)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: cut(path, 100_000),
            r"is cut off \(holds 100000 bytes of the \d+ that its header names\)",
        ),
        (lambda path: cut(path, 100), r"is cut off \(holds 100 bytes, and its header alone has \d+\)"),
        (
            lambda path: path.write_bytes(path.read_bytes() + b"more"),
            r"is damaged \(holds \d+ bytes of the \d+ that .*\)",
        ),
        (lambda path: path.write_text("<html>No such model</html>"), "is no safetensors file"),
        (lambda path: path.write_bytes(b"\2\0\0\0\0\0\0\0[]"), "is no safetensors file"),
        (lambda path: path.write_bytes(headed("[4, 0]")), "is no safetensors file"),
        (lambda path: path.write_bytes(headed("[-4, 4]")), "is no safetensors file"),
        (lambda path: cut(path, 0), "is empty"),
    ],
)
def test_a_damaged_file_of_weights_is_named_with_row_and_remedy(
    folder: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(folder / "model.safetensors")
    with pytest.raises(
        ModelFailed, match=rf"^model test/tiny: model\.safetensors {words}; get its files anew\.$"
    ):
        loaded(folder)


def renamed(folder: Path, file: str, name: str) -> None:
    """The config says where its weights are."""
    (folder / file).rename(folder / name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": name}), encoding="utf-8")


def indexed(folder: Path) -> None:
    split(folder, "two.safetensors")
    renamed(folder, "model.safetensors.index.json", "one.safetensors.index.json")


def pickled(folder: Path, *, legacy: bool) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    (folder / "model.safetensors").unlink()


def no_weights(path: Path) -> None:
    path.write_text("<html>No such model</html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("arrange", "file", "damage", "words"),
    [
        (partial(split, file="two.safetensors"), "two.safetensors", Path.unlink, "is missing"),
        (
            partial(renamed, file="model.safetensors", name="one.safetensors"),
            "one.safetensors",
            partial(cut, bytes=100),
            "is cut off",
        ),
        (indexed, "one.safetensors", partial(cut, bytes=100), "is cut off"),
        (partial(pickled, legacy=False), "pytorch_model.bin", partial(cut, bytes=100_000), "is cut off;"),
        (partial(pickled, legacy=False), "pytorch_model.bin", no_weights, "is no file of weights"),
        (partial(pickled, legacy=True), "pytorch_model.bin", no_weights, "is no file of weights"),
    ],
)
def test_weights_however_they_lie_are_served_and_named_if_they_are_damaged(
    folder: Path, arrange: Callable[[Path], None], file: str, damage: Callable[[Path], object], words: str
) -> None:
    arrange(folder)
    assert ask(loaded(folder)) == "Red"
    damage(folder / file)
    with pytest.raises(ModelFailed, match=f"^model test/tiny: {re.escape(file)} {words}.*get its files anew"):
        loaded(folder)


@pytest.mark.parametrize("text", ["{}", '{"metadata": {}, "weight_map": []}'])
def test_an_index_that_names_no_files_is_named_itself(folder: Path, text: str) -> None:
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelFailed, match=r"test/tiny: model\.safetensors\.index\.json has no .*weight_map"):
        loaded(folder)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_named_before_anybody_asks(
    folder: Path, dtype: torch.dtype, value: float
) -> None:
    """In the format of each file; numbers as large as the format has are numbers."""
    largest = torch.finfo(dtype).max
    reweigh(
        folder, lambda all: {name: torch.full_like(one, largest, dtype=dtype) for name, one in all.items()}
    )
    assert list(weight_faults(folder)) == []
    reweigh(folder, lambda all: {name: torch.full_like(one, value) for name, one in all.items()})
    words = "model.safetensors has NaN or infinity among the first weights of .*; get its files anew"
    with pytest.raises(ModelFailed, match=f"^model test/tiny: {words}"):
        loaded(folder)


@pytest.mark.parametrize("family", FAMILIES, ids=called)
def test_a_model_that_loads_is_not_refused_on_trial(
    family: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = family.folder(tmp_path_factory.getbasetemp())
    assert refusal(Model(id="tiny/family", source=str(source), dtype="bfloat16")) == ""


SEARCHES: dict[str, Any] = {
    "prompt_lookup_num_tokens": 3,
    "max_matching_ngram_size": 2,
    "assistant_early_exit": 1,
    "use_mtp": True,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "num_beams": 4,
    "force_words_ids": [[40]],
    "token_healing": True,
    "prefill_chunk_size": 8,
}


@pytest.mark.parametrize(
    "keys",
    [
        SEARCHES,
        {"do_sample": True, "num_beams": 3, "num_return_sequences": 2, "max_length": 20, "max_time": 1e-9},
        {"do_sample": False, "cache_implementation": "quantized"},
        {"do_sample": False, "cache_implementation": "static"},
    ],
    ids=["several tokens a step", "beams, lengths and times", "a cache for a GPU", "a cache that compiles"],
)
@ENGINES
def test_how_a_model_would_search_end_and_keep_changes_no_answer_and_floods_no_log(
    folder: Path, engine: str, keys: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    generation(folder, **keys)
    with caplog.at_level(logging.WARNING):
        asked = loaded(folder, engine=engine)
        given = ask(asked, temperature=0.0, min_new_tokens=30)
    assert given == ask(usual(engine), min_new_tokens=30)
    assert "max_length" not in caplog.text


def test_an_answer_that_lost_tokens_is_an_error_and_never_given() -> None:
    engine: Any = loaded(TINY, engine="sequential")
    engine._loaded.network.generation_config.prompt_lookup_num_tokens = 3
    with pytest.raises(RuntimeError, match=r"drew \d+ tokens in one step"):
        ask(engine, min_new_tokens=40)


@pytest.mark.parametrize("engine", ["auto", "sequential"])
def test_a_chat_template_with_a_syntax_error_is_told_at_load_and_not_to_every_caller(
    folder: Path, engine: str
) -> None:
    (folder / "chat_template.jinja").write_text("{{ bos_token }}\n{% for x in messages %}", encoding="utf-8")
    with pytest.raises(ModelFailed, match=r"its chat template, line 2: .*endfor"):
        loaded(folder, engine=engine)


@pytest.mark.parametrize("engine", ["auto", "sequential"])
def test_why_no_question_could_be_tried_stands_where_operators_look(
    folder: Path, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "chat_template.jinja").write_text("{{ foo.bar }}", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        asked = create(tiny(engine=engine).model_copy(update={"source": str(folder)})).load()
    assert "could" in asked.reason
    for words in (asked.reason, caplog.text):
        assert "'foo' is undefined" in words


@pytest.mark.parametrize("fields", [{}, {"engine": "sequential"}, {"engine": "auto", "cache": "static"}])
def test_more_tokens_than_a_model_was_made_for_are_said_to_be_that(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    words = "context_length is beyond the 2048 tokens that its files name"
    with caplog.at_level(logging.WARNING):
        engine = loaded(TINY, context_length=4096, **fields)
    assert words in engine.reason
    assert words in caplog.text


def test_a_folder_of_empty_files_has_a_guess_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert create(tiny().model_copy(update={"source": str(tmp_path)})).load_guess() == (30.0, "guess")
