"""Every row of the catalogue runs a tiny random model of its family through the worker's own engine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pictures

from shared.model_files import torchvision_install
from shared.models_file import load_models
from tests.engines import suite
from tests.support.families import NAMED
from tests.support.families.tokens import byte_tokenizer
from worker.engines.sequential import SequentialEngine

ROOT = Path(__file__).parents[2]
CATALOGUE = load_models(ROOT / "examples/models/catalogue.toml")
ROWS = {
    "HuggingFaceM4/idefics2-8b-chatty": "idefics2",
    "Qwen/Qwen2.5-VL-7B-Instruct": "qwen2.5-vl",
    "google/gemma-3-27b-it": "gemma3",
    "Qwen/Qwen3-VL-4B-Instruct": "qwen3-vl",
    "llava-hf/llava-interleave-qwen-0.5b-hf": "llava",
    "HuggingFaceTB/SmolVLM-256M-Instruct": "smolvlm",
    "google/gemma-4-E2B-it": "gemma4",
}
PHI = "microsoft/Phi-3.5-vision-instruct"
VIDEO = {
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen2VLImageProcessor"),
    "smolvlm": ("SmolVLMProcessor", "SmolVLMImageProcessor"),
    "gemma4": ("Gemma4Processor", "Gemma4ImageProcessor"),
}
# In a process of its own: transformers looks for torchvision once. An entry of None cannot be imported.
WITHOUT_TORCHVISION = """
import sys
sys.modules["torchvision"] = None
from shared.errors import ModelFailed
from shared.models import Model
from shared.model_files import torchvision_install
from worker.engines.sequential import SequentialEngine
for folder in sys.argv[1:]:
    try:
        SequentialEngine(Model(id="org/m", source=folder)).load()
    except ModelFailed as error:
        print("install it by `" in str(error))
"""


@pytest.fixture(scope="module", params=ROWS, ids=ROWS.get)
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> suite.Harness:
    """The row as it stands, but for a source that is on this machine."""
    folder = NAMED[ROWS[request.param]].folder(tmp_path_factory.getbasetemp())
    row = CATALOGUE.resolve(request.param).model_copy(update={"source": str(folder)})
    engine = SequentialEngine(row).load()
    return suite.Harness(engine)


def test_every_row_is_run_or_said_to_be_untested() -> None:
    assert {*ROWS, PHI} == {model.id for model in CATALOGUE.rows}


def test_the_answer_depends_on_each_picture(harness: suite.Harness) -> None:
    red, blue = (Pictures.new("RGB", (60, 40), color) for color in ("red", "blue"))
    shown: list[list[Any]] = [[], [red], [red, red], [red, blue]]
    asked = [harness.ask("Hi", pictures, max_new_tokens=12)[0] for pictures in shown]
    assert len({(finish.ids, finish.score) for finish in asked}) == len(shown)


@pytest.mark.timeout(400)
def test_a_worker_without_torchvision_says_what_is_missing(tmp_path: Path) -> None:
    for kind, (processor, pictures) in VIDEO.items():
        parts = {
            "processor_class": processor,
            "image_processor": {"image_processor_type": pictures},
            "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
            "video_processor": {},
        }
        byte_tokenizer().save_pretrained(tmp_path / kind)
        write(tmp_path / kind / "config.json", {"model_type": kind})
        write(tmp_path / kind / "processor_config.json", parts)
    argv = [sys.executable, "-c", WITHOUT_TORCHVISION, *(str(tmp_path / kind) for kind in VIDEO)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=360)
    assert done.stdout.split() == ["True"] * len(VIDEO), done.stderr


def test_a_torchvision_of_another_torch_is_named_with_what_mends_it(tmp_path: Path) -> None:
    """transformers cannot be imported beside one, and says that some part of its own is missing."""
    for name, file, content in (
        ("torchvision", "__init__.py", 'raise RuntimeError("operator torchvision::nms does not exist")'),
        ("torchvision-0.28.0.dist-info", "METADATA", "Name: torchvision\nVersion: 0.28.0\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "worker.engines.loading.dry_load"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        input=json.dumps({"id": "org/m", "source": "models/tiny"}),
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    assert "torchvision 0.28.0 was built for another torch" in said, done.stderr
    assert torchvision_install() in said


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
