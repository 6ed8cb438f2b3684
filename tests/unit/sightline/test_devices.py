"""What a machine has for models, what each takes, and where it may stand."""

import os
from pathlib import Path
from typing import Any

import pytest

from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.gpus import Gpu
from sightline.model_setup import choice as model_choice
from sightline.serving.devices import Devices
from tests.support.snippets import ROOT

GB = 2**30
ECHO = Model(id="org/echo", engine="echo")
TINY = Model(id="org/tiny", source="org/tiny", engine="sequential")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[Gpu]:
    """Two that torch can use."""
    found = [Gpu(at, "L4", 22_000, 24_000) for at in range(2)]
    monkeypatch.setattr(model_choice, "nvidia_devices", lambda: found)
    monkeypatch.setattr("sightline.serving.devices.without_cuda", lambda: False)
    return found


def test_a_machine_without_enough_memory_is_told_both_figures_before_anything_is_started() -> None:
    here = TINY.model_copy(update={"source": str(ROOT / "models/tiny")})
    Devices(4000).check([here])
    with pytest.raises(CommandError, match=r"needs about \d+ MB, \d+ MB are free") as caught:
        Devices(200).check([here])
    assert caught.value.code is Exit.MEMORY
    Devices(200).check([here, ECHO])


def test_a_model_that_is_not_here_yet_stands_alone_until_it_is_measured() -> None:
    """Ten of unknown size would not fit."""
    devices = Devices(4000)
    assert devices.need(TINY) == devices.all[0].room
    devices.measure(TINY, "cpu", os.getpid(), 0)
    assert devices.need(TINY) < devices.all[0].room


def test_no_other_model_leaves_for_one_whose_folder_is_missing(tmp_path: Path) -> None:
    missing = TINY.model_copy(update={"source": str(tmp_path / "missing")})
    devices = Devices(40_000)
    assert devices.need(missing) < devices.all[0].room / 10


def test_a_model_that_ran_out_of_memory_takes_more_than_was_thought() -> None:
    small, devices = TINY.model_copy(update={"memory_mb": 1500}), Devices(4000)
    devices.exceeded(small, 0)
    assert devices.need(small) == 3000 * 2**20
    devices.exceeded(small, 500 * 2**20)
    assert devices.need(small) == 3500 * 2**20, "all that those leave which always stay"
    devices.exceeded(small, 0)
    assert devices.need(small) == 4000 * 2**20, "all there is, as far as one knows"


def test_weights_count_and_what_the_row_says_counts_more(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 2_000_000_000)
    big = Model(id="org/big", source=str(tmp_path), engine="sequential")
    assert 2 * GB < Devices().need(big) < 3 * GB
    assert Devices().need(big.model_copy(update={"memory_mb": 512})) == GB // 2


def test_what_a_worker_takes_is_measured_once_it_is_loaded() -> None:
    devices = Devices()
    devices.measure(ECHO, "cpu", os.getpid(), 0)
    taken = devices.need(ECHO)
    assert taken != Devices().need(ECHO)
    devices.measure(ECHO, "cpu", 2**30, 0)
    assert devices.need(ECHO) == taken, "one that has ended meanwhile"
    devices.forget(ECHO)
    assert devices.need(ECHO) == Devices().need(ECHO), "another row is another model"


def test_a_model_that_was_measured_at_more_than_there_is_still_finds_its_place() -> None:
    devices = Devices(1)
    devices.measure(ECHO, "cpu", os.getpid(), 0)
    assert devices.need(ECHO) == devices.all[0].room


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("place", "names", "spans"),
    [
        ({}, ("cuda:0", "cuda:1"), False),
        ({"device": "cpu"}, ("cpu",), False),
        ({"device": "cuda:1"}, ("cuda:1",), False),
        ({"device": "cuda:7"}, ("cuda:7",), False),
        ({"device_map": "auto"}, ("cuda:0", "cuda:1"), True),
        ({"engine": "vllm", "options": {"tensor_parallel_size": 2}}, ("cuda:0", "cuda:1"), True),
        ({"engine": "echo"}, ("cpu",), False),
    ],
    ids=str,
)
def test_a_model_stands_where_its_row_says(
    place: dict[str, Any], names: tuple[str, ...], spans: bool
) -> None:
    model, devices = TINY.model_copy(update=place), Devices()
    assert (devices.of(model), devices.spans(model)) == (names, spans)


def test_each_worker_sees_the_gpu_on_which_it_stands(
    gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert Devices().environment(TINY, "cuda:1") == order | {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8a9b")
    assert Devices().environment(TINY, "cuda:0") == {}, "what names them otherwise is not replaced"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert Devices().of(TINY) == ("cpu",)
    gpus.pop()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert Devices().environment(TINY, "cuda:0") == {}, "one sees what its environment says"


@pytest.mark.usefixtures("gpus")
def test_what_a_load_takes_of_a_gpu_is_what_is_missing_after_it(gpus: list[Gpu]) -> None:
    devices = Devices()
    before_mb = devices.free_mb("cuda:0")
    gpus[0] = Gpu(0, "L4", 12_000, 24_000)
    devices.measure(TINY, "cuda:0", os.getpid(), before_mb)
    assert devices.need(TINY) == 10_000 * 2**20


@pytest.mark.usefixtures("gpus")
def test_vllm_takes_its_share_of_a_gpu() -> None:
    vllm = TINY.model_copy(update={"engine": "vllm"})
    assert Devices().need(vllm) == int(0.9 * 24_000 * 2**20)
    half = vllm.model_copy(update={"options": {"gpu_memory_utilization": 0.5}})
    assert Devices().need(half) == 12_000 * 2**20
