"""What a row of the models file says about loading is done, or refused with the row's own words."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from shared import cgroup
from shared.errors import ModelFailed
from shared.models import Model
from shared.models_file import load_models
from shared.settings import SettingsError
from tests.engines import suite
from tests.engines.continuous.conftest import TINY, loaded, tiny
from tests.support.device import DEVICE
from worker.engines.base import Engine
from worker.engines.loading import devices
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.model_folder import model_folder
from worker.engines.registry import create

INT8 = {"quant_method": "quanto", "weights": "int8"}
# The first part's weights stay in the folder and are read for each pass.
SPREAD = {
    "model.vision_tower": "disk",
    "model.multi_modal_projector": "cpu",
    "model.language_model": "cpu",
    "lm_head": "cpu",
}
COLOUR = "What color is the shape?"


def load(**fields: Any) -> Engine:
    return create(tiny(**fields)).load()


def answer(engine: Engine) -> str:
    return suite.Harness(engine).ask(COLOUR, [suite.picture()])[0].text


def row(tmp_path: Path, line: str) -> Model:
    path = tmp_path / "models.toml"
    path.write_text(f'[[models]]\nid = "org/m"\nsource = "{TINY}"\n{line}\n', encoding="utf-8")
    return load_models(path).rows[0]


@pytest.fixture(scope="module")
def usual() -> Engine:
    return loaded().engine


@pytest.fixture(scope="module")
def one_by_one() -> Engine:
    return load(engine="sequential")


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        pytest.param({"attention": "eager"}, torch.float32, marks=pytest.mark.thorough),
        ({"dtype": "bfloat16"}, torch.bfloat16),
        pytest.param({"dtype": "float16"}, torch.float16, marks=pytest.mark.thorough),
        ({"quantization_config": INT8}, torch.float32),
    ],
)
def test_what_changes_numbers_is_certified_and_shares_no_cached_answer(
    usual: Engine, fields: dict[str, Any], dtype: torch.dtype
) -> None:
    if "quantization_config" in fields:
        pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    engine: Any = load(**fields)
    assert engine._loaded.network.dtype is dtype
    assert engine.reason.startswith("certified: ")
    assert engine.fingerprint != usual.fingerprint
    assert answer(engine) == answer(usual) == "Red"
    layers = engine._loaded.network.model.language_model.layers.modules()
    weights: list[Any] = [layer.weight for layer in layers if isinstance(layer, torch.nn.Linear)]
    formats = {getattr(weight, "_data", weight).dtype for weight in weights}
    assert formats == {torch.int8 if "quantization_config" in fields else dtype}


@pytest.mark.parametrize("engine", ["auto", "sequential"])
def test_a_model_that_can_answer_nothing_as_its_row_says_is_never_ready(engine: str) -> None:
    """On a CPU quanto multiplies no bfloat16 in the layout that LLaVA's tower gives one picture."""
    with pytest.raises(ModelFailed, match=r"quantization_config = .*, dtype = 'bfloat16': .*contiguous"):
        load(engine=engine, rows=1, quantization_config=INT8, dtype="bfloat16")


@pytest.mark.parametrize(
    "fields", [{"device_map": "auto"}, {"device_map": {"": "cpu"}}, {"device_map": SPREAD}, {"packed": True}]
)
def test_what_changes_no_answer_shares_the_cache(one_by_one: Engine, fields: dict[str, Any]) -> None:
    engine = load(engine="sequential", **fields)
    assert engine.fingerprint == one_by_one.fingerprint
    assert answer(engine) == "Red"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"attention": "flash_attention_2", "dtype": "bfloat16"},
            "attention = 'flash_attention_2': .*installed",
        ),
        ({"attention": "telepathy"}, "attention = 'telepathy': .*sdpa"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization_config = .*magic.*quanto"),
        ({"quantization_config": {"bits": 4}}, "quantization_config = .*quant_method"),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 4}},
            "quantization_config = .*pre-quantized",
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "fp8"}},
            "quantization_config = .*fp8.*GPU",
            marks=pytest.mark.skipif(DEVICE != "cpu", reason="a GPU can"),
        ),
        ({"device_map": "everywhere"}, "device_map = 'everywhere': .*balanced"),
        ({"device_map": {}}, "device_map = {}: it places nothing"),
        ({"device_map": {"": "disk"}}, "device_map = {'': 'disk'}: nothing computes"),
        ({"device_map": {"": "gpu"}}, "device_map = {'': 'gpu'}: Expected one of cpu, cuda"),
        (
            {"device_map": {"head": "cpu"}},
            "device_map = {'head': 'cpu'}: it has no 'head', but model.*, lm_head",
        ),
        ({"device": "gpu"}, "device = 'gpu': Expected one of cpu, cuda.*auto"),
        ({"device": ""}, "device = '': .*empty"),
        ({"device": "meta"}, "device = 'meta': .*computes nothing"),
        ({"device": "mps"}, "device = 'mps': (?!.*Facebook).*auto"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named_with_what_is_missing(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelFailed, match=f"model test/tiny, with {words}"):
        LoadedModel(tiny(**fields))


def test_nobody_computes_on_the_cpu_unawares_beside_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "nvidiactl").touch()
    devices.warn_of_idle_gpu(tiny())
    (tmp_path / "nvidia3").touch()
    devices.warn_of_idle_gpu(tiny(device="cpu"))
    assert "cannot use the GPU" not in caplog.text
    LoadedModel(tiny())
    assert "cannot use the GPU that is here: the CPU computes" in caplog.text


def test_a_gpu_rounds_no_picture_of_a_model_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default its convolutions do, and otherwise for a picture beside others."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    LoadedModel(tiny())
    assert not torch.backends.cudnn.allow_tf32


def test_memory_that_is_short_is_not_blamed_on_what_a_row_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", short)
    with pytest.raises(torch.OutOfMemoryError):
        LoadedModel(tiny(attention="sdpa"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            'dtype = "float32"\nattention = "flash_attention_2"',
            "attention: .*bfloat16 and float16 only; set dtype",
        ),
        ('device = "cpu"\ndevice_map = "auto"', "device_map: .*device is set as well"),
        ('quantization_config = "int8"', "quantization_config: .*dictionary"),
        ('cache = "quantum"', "cache: .*'dynamic' or 'static'"),
        ('packed = "yes please"', "packed: .*valid boolean"),
        ('trust_remote_code = "yes"', "trust_remote_code: .*boolean"),
        ("trust_remote_code = 1", "trust_remote_code: .*boolean"),
        ('attn_implementation = "eager"', "attn_implementation: .*it is attention here"),
        ("options = { stall_steps = inf }", "options: .*finite"),
    ],
)
def test_a_row_that_cannot_be_right_stops_the_start(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"row 1, {words}"):
        row(tmp_path, line)


def test_a_static_cache_serves_one_request_at_a_time_says_so_and_answers_the_same(one_by_one: Engine) -> None:
    engine: Any = load(engine="auto", cache="static", packed=False)
    assert (engine.name, engine.rows) == ("sequential", 1)
    assert engine.reason == "not continuous: a static cache is made for one request"
    assert engine.fingerprint != one_by_one.fingerprint
    kinds: set[str] = set()
    engine._loaded.network.register_forward_hook(
        lambda _, __, inputs, ___: kinds.add(type(inputs["past_key_values"]).__name__), with_kwargs=True
    )
    assert answer(engine) == answer(one_by_one)
    assert kinds == {"StaticCache"}


def test_rows_beside_each_other_with_a_static_cache_are_refused_by_name() -> None:
    with pytest.raises(ModelFailed, match=r"test/tiny: the engine continuous .* a static cache"):
        load(cache="static")


def test_a_model_is_fetched_at_its_revision_and_named_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(source: str, *, revision: str, **_: Any) -> str:
        if (source, revision) == ("org/m", "abc"):
            return str(tmp_path)
        raise OSError(f"no revision {revision}")

    monkeypatch.setattr("worker.engines.loading.model_folder.snapshot_download", fetch)
    assert model_folder(Model(id="m", source="org/m", revision="abc")) == tmp_path
    for source, words in (
        ("org/m", "'org/m' is not a folder .* no revision def"),
        (str(tmp_path), f"model m: the source '{tmp_path}' is a folder without config.json"),
    ):
        with pytest.raises(ModelFailed, match=words):
            model_folder(Model(id="m", source=source, revision="def"))


@pytest.fixture
def torchs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The numbers of threads torch was told, on a machine with four processors and no other limit."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path)
    return told


@pytest.mark.parametrize(
    ("limit", "wanted", "used"),
    [
        (None, 1, 1),
        (None, 4, 4),
        (None, 8, 4),
        ("max 100000", 8, 4),
        ("250000 100000", 3, 2),
        ("50000 100000", 2, 1),
    ],
)
def test_no_more_threads_compute_than_there_are_processors(
    torchs: list[int], limit: str | None, wanted: int, used: int, caplog: pytest.LogCaptureFixture
) -> None:
    if limit:
        (cgroup.CGROUP / "cpu.max").write_text(limit + "\n")
    with caplog.at_level(logging.WARNING):
        devices.use_threads(wanted)
    assert torchs == [used]
    assert (f"SIGHTLINE_WORKER__THREADS is {wanted}, but" in caplog.text) is (used < wanted)
