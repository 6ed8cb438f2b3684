"""Pixels that travel as bytes are the processor's own numbers on the device; others travel as numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image as Picture
from torch.utils._python_dispatch import TorchDispatchMode

from shared.models import Model
from shared.request import Message, Request, Text, Video
from tests.engines import suite
from tests.engines.conftest import TINY
from tests.support.families import NAMED
from tests.support.families.family import Family
from tests.support.families.moving import QWEN2_VL, SMOLVLM
from worker.engines.base import PackedPicture
from worker.engines.loading.loaded import LoadedModel
from worker.engines.prompt.pixel_bytes import MOST, PixelTable

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZES = ((301, 977), (57, 56), (640, 480))


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def family(name: str, files: Path) -> LoadedModel:
    return LoadedModel(Model(id=f"tiny/{name}", source=str(NAMED[name].folder(files)), device="cpu"))


def prepared(model: LoadedModel) -> list[Any]:
    """What the processor makes of one picture of each size."""
    pictures = [suite.picture().resize(size) for size in SIZES]
    return [model.renderer.pictures_prompt([picture]) for picture in pictures]


def rgb(size: tuple[int, int]) -> Picture:
    return suite.picture().resize(size).convert("RGB")


def packed(size: tuple[int, int]) -> PackedPicture:
    return PackedPicture(size, bytearray(rgb(size).tobytes()))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", ["llava", "qwen2.5-vl", "smolvlm"])
def test_bytes_become_the_processor_s_own_numbers_on_the_device(name: str, files: Path) -> None:
    """Decoded pixels are shown without a copy of Pillow's."""
    model = family(name, files)
    numbers = prepared(model)
    model.stop_at_bytes()
    pixels = prepared(model)
    for size, one, other in zip(SIZES, pixels, numbers, strict=True):
        assert one.inputs["pixel_values"].nbytes <= other.inputs["pixel_values"].nbytes / 4
        assert same(model.inputs(one), model.inputs(other))
        mine, theirs = packed(size), rgb(size)
        shown, copied = (model.renderer.pictures_prompt([picture]).inputs for picture in (mine, theirs))
        assert same(shown, copied)
        assert mine.pixels is not None  # Pillow's own would have taken their place.


@pytest.mark.parametrize("moving", [QWEN2_VL, SMOLVLM], ids=lambda family: family.name)
def test_videos_stay_as_they_are(moving: Family, files: Path) -> None:
    """Also where a processor calls their pixels what it calls a picture's."""
    model = LoadedModel(Model(id="tiny/moving", source=str(moving.folder(files)), device="cpu"))
    asked = Request(model="m", messages=(Message(role="user", parts=(Video(), Text(text="What happens?"))),))

    def shown() -> dict[str, Any]:
        made_up = model.renderer.video_input.made_up()
        return model.inputs(model.renderer.prompt(asked, (), (), [made_up]))

    numbers = shown()
    model.stop_at_bytes()
    assert model.renderer.pixels
    assert same(shown(), numbers)


def test_pixels_of_a_processor_that_does_more_than_a_table_can_are_its_numbers(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = family("llava", files)
    kind = type(model.renderer._processor.image_processor)
    normalize = kind.normalize

    def brighter_at_the_edge(self: Any, image: Any, *given: Any, **named: Any) -> Any:
        made = normalize(self, image, *given, **named)
        made[..., :1] += 0.5
        return made

    monkeypatch.setattr(kind, "normalize", brighter_at_the_edge)
    numbers = prepared(model)
    model.stop_at_bytes()
    assert all(map(same, map(model.inputs, prepared(model)), map(model.inputs, numbers)))
    assert all(one.inputs["pixel_values"].is_floating_point() for one in prepared(model))


@pytest.mark.parametrize("shape", [(9000, 3 * 196), (13, 3, 384, 384), (1, 3, 1540, 1540)])
def test_pixels_of_a_large_picture_take_little_more_memory_than_their_numbers(shape: tuple[int, ...]) -> None:
    class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
        bytes = 0

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = call(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.dtype is torch.int64:
                self.bytes = max(self.bytes, made.nbytes)
            return made

    table = torch.randn(3, 256, dtype=torch.bfloat16)
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        numbers = PixelTable(table, times=2 if len(shape) == 2 else 1).numbers({"pixel_values": pixels})[
            "pixel_values"
        ]
    assert largest.bytes <= 8 * MOST
    channels = pixels.view(len(pixels), 3, -1).long()
    expected = torch.stack([table[channel].take(channels[:, channel]) for channel in range(3)], dim=1)
    if len(shape) == 2:
        expected = expected[:, :, None].expand(-1, -1, 2, -1)
    assert torch.equal(numbers, expected.reshape(numbers.shape))


def test_a_prompt_is_left_as_it_is_by_what_the_device_is_given_of_it() -> None:
    """Its pixels would stay there as long as its answer is computed, and no later prompt be compared with it.

    Another format stands for another device.
    """
    model = LoadedModel(Model(id="test/tiny", source=str(TINY), dtype="bfloat16", device="cpu"))
    [prompt, *_] = prepared(model)
    before = dict(prompt.inputs)
    assert model.inputs(prompt)["pixel_values"].dtype is torch.bfloat16
    assert all(prompt.inputs[name] is value for name, value in before.items())
