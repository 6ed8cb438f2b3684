"""A model whose folder brings code of its own: run only where the models file says so."""

import json
import os
import shutil
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
import transformers.dynamic_module_utils

import tests.support.remote_code
from shared.errors import ModelFailed
from shared.models import Model
from tests.engines.conftest import TINY
from tests.support.families import NAMED
from tests.support.families.asking import RED, Conversation, Subject
from tests.support.families.family import Family
from tests.support.remote_code.configuration_toy import ToyConfig
from tests.support.remote_code.modeling_toy import ToyForConditionalGeneration
from worker.engines.loading.pretrained import pretrained

CODE = Path(tests.support.remote_code.__file__).parent
LLAVA = NAMED["llava"]


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers copies the code that it runs; not into the home of who runs the tests."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(params=["AutoModelForImageTextToText", "AutoModelForCausalLM"])
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    """LLaVA's weights under another name, and the code that knows it; some models name another Auto class."""
    copy = tmp_path / "toy"
    llava = Subject(LLAVA, LLAVA.folder(tmp_path_factory.getbasetemp()))
    shutil.copytree(llava.folder, copy)
    network = ToyForConditionalGeneration(ToyConfig(**llava.network.config.to_dict()))
    network.load_state_dict(llava.network.state_dict())
    network.save_pretrained(copy)
    for file in CODE.glob("*_toy.py"):
        shutil.copy(file, copy)
    model_map = {
        "AutoConfig": "configuration_toy.ToyConfig",
        request.param: "modeling_toy.ToyForConditionalGeneration",
    }
    rewrite(copy / "config.json", auto_map=model_map)
    rewrite(
        copy / "processor_config.json",
        processor_class="ToyProcessor",
        auto_map={"AutoProcessor": "processing_toy.ToyProcessor"},
    )
    return Subject(Family("toy", LLAVA.build), copy, auto=request.param, trusted=True)


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_code_from_a_models_folder_is_not_run_unless_it_is_trusted(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"tiny/toy.*trust_remote_code"):
        subject.engine()
    assert not list((tmp_path / "modules").rglob("*_toy.py"))


def test_a_trusted_models_code_prepares_and_answers(
    subject: Subject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = subject.engine(trust_remote_code=True)
    asked, shouted = (Conversation("", ((RED, text),)) for text in ("what is it?", "WHAT IS IT?"))
    answer = engine.generate(subject.row(engine, asked)).ids
    assert answer == subject.generated(asked)
    assert answer == engine.generate(subject.row(engine, shouted)).ids
    assert answer != Subject(LLAVA, LLAVA.folder(tmp_path_factory.getbasetemp())).generated(asked)


def test_changed_code_shares_no_cached_answer(subject: Subject) -> None:
    before = subject.engine(trust_remote_code=True).fingerprint
    code = subject.folder / "modeling_toy.py"
    code.write_text(code.read_text() + "\n# another thought\n")
    assert subject.engine(trust_remote_code=True, max_new_tokens=511).fingerprint != before


class Program:
    """Makes a folder where it is read as pickles are."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def test_weights_that_hold_a_program_are_refused_and_it_is_not_run(tmp_path: Path) -> None:
    folder, mark = tmp_path / "tiny", tmp_path / "mark"
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"model.norm.weight": Program(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(UnpicklingError):
        pretrained(Model(id="tiny/pickled", source=str(folder)), folder)
    assert not mark.exists()
