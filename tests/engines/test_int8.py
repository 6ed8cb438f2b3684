"""A model in 8 bits answers nearly as it did, and says that it is not the same."""

import pytest
import torch
from torch.nn import Linear
from torch.nn.functional import cosine_similarity

from shared.errors import ModelFailed
from shared.models import Model
from tests.engines import suite
from tests.engines.continuous.conftest import tiny
from tests.engines.suite import picture, question
from worker.engines.loading import packing
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.packing import Int8Linear, PackedLinear, pack
from worker.engines.registry import create

ROW = Model(id="m", source="m", packed="int8")
vnni = pytest.mark.skipif(
    not torch.cpu._is_vnni_supported(), reason="int8 is refused on a processor without VNNI"
)


class Network(torch.nn.Module):
    """Ends in a layer that makes logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = Linear(64, 96), Linear(96, 50)

    def get_output_embeddings(self) -> Linear:
        return self.head


@vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_layer_in_8_bits_takes_whatever_a_plain_one_takes(dtype: torch.dtype, bias: bool) -> None:
    plain = Linear(64, 96, bias=bias, dtype=dtype)
    made = Int8Linear(plain)
    numbers = torch.arange(2 * 9 * 128).sin().to(dtype).view(2, 9, 128)
    column = numbers.view(2, 128, 9)[:, :64].transpose(1, 2)
    for given in (numbers[0, 0, :64], numbers[0, :0, :64], numbers[:, ::2, :64], column):
        expected, found = plain(given), made(given)
        assert (found.shape, found.dtype) == (expected.shape, dtype)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


@torch.inference_mode()
def test_a_row_is_the_same_to_the_last_bit_whatever_is_beside_it() -> None:
    layer, rows = Int8Linear(Linear(512, 256)), torch.randn(33, 512)
    rows[7] *= 1e4
    alone = torch.cat([layer(row[None]) for row in rows])
    assert torch.equal(layer(rows), alone)


@torch.inference_mode()
def test_a_row_that_is_not_a_number_spoils_no_other_and_stays_so() -> None:
    layer, rows = Int8Linear(Linear(64, 32)), torch.randn(4, 64)
    clean = layer(rows)
    rows[1, 5] = torch.nan
    rows[2] = 0
    found = layer(rows)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 3]], clean[[0, 3]])
    assert torch.equal(found[2], layer.bias)


@vnni
def test_all_but_the_layer_of_the_logits_are_in_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engines.loading.packing._faster", lambda *_: True)
    network = Network()
    assert pack(network, ROW) == "2 of 2 linear layers packed, 1 of them in int8"
    assert (type(network.inner), type(network.head)) == (Int8Linear, PackedLinear)


def test_a_processor_that_would_add_up_wrong_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(ModelFailed, match=r'model m: packed = "int8" needs a processor with VNNI'):
        pack(Network(), ROW)


@vnni
def test_a_model_of_which_nothing_can_be_in_8_bits_is_not_called_so() -> None:
    with pytest.raises(ModelFailed, match=r"no linear layer in float32 or bfloat16; set another dtype"):
        pack(Network().to(torch.float16), ROW)


def test_weights_on_another_device_are_refused_by_name() -> None:
    with pytest.raises(ModelFailed, match="is for a CPU, and its weights are on meta"):
        packing.check(ROW, Network().to("meta"))


@vnni
@torch.inference_mode()
def test_the_shipped_model_finds_nearly_the_same_logits_in_8_bits() -> None:
    found = []
    for packed in (False, "int8"):
        loaded = LoadedModel(tiny(packed=packed))
        given = loaded.inputs(loaded.prompt(question("What colour is it?", pictures=1), [picture("red")]))
        found.append(loaded.network(**given).logits[0])
    assert cosine_similarity(*found).min() > 0.98
    assert not torch.equal(*found)


@vnni
def test_an_engine_in_8_bits_says_that_neighbours_may_change_an_answer_and_shares_no_cached_ones() -> None:
    engine = create(tiny(engine="auto", packed="int8")).load()
    plain = create(tiny(engine="auto")).load()
    assert engine.name == "continuous"
    assert "which in int8 may change an answer" in engine.reason
    assert "of them in int8" in engine.reason
    assert engine.fingerprint != plain.fingerprint
    assert suite.Harness(engine).ask("What colour is it?", [picture("red")], max_new_tokens=8)[0].text
