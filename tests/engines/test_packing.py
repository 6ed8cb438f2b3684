"""A model whose linear layers are packed answers as it did."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.nn import Linear
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM

from shared.models import Model
from tests.support.families import FAMILIES
from tests.support.families.asking import Subject
from tests.support.families.crowd import ROWS, Crowd, members
from tests.support.families.family import Family, called
from worker.engines.base import Engine
from worker.engines.loading.packing import PackedLinear, pack

BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
# Layers in a tower, with experts, with states, with windows, and some whose weight is asked for its type.
PACKED = [f for f in FAMILIES if f.name in {"llava", "llama4", "qwen3.5", "lfm2-vl", "gemma4", "qwen2.5-vl"}]


def row(**fields: Any) -> Model:
    return Model(id="m", source="m", **{"packed": True, **fields})


def layers() -> torch.nn.Sequential:
    return torch.nn.Sequential(Linear(32, 48), Linear(48, 48, bias=False), Linear(48, 48), Linear(48, 16))


def kinds(network: torch.nn.Module) -> list[type[torch.nn.Module]]:
    return [type(layer) for layer in network.children()]


@pytest.fixture(params=PACKED, ids=called)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family: Family = request.param
    return Subject(family, family.folder(tmp_path_factory.getbasetemp()))


def test_packing_changes_no_answer_alone_or_in_a_crowd(subject: Subject) -> None:
    crowd, alone = members(subject), subject.engine(packed=False)
    expected = [alone.generate(subject.row(alone, m.conversation, **m.parameters)).ids for m in crowd]
    engine: Engine = subject.engine("continuous", rows=ROWS, packed=True)
    answers = Crowd(engine, subject).ask(crowd)
    assert [got for got in answers if got] == [e for got, e in zip(answers, expected, strict=True) if got]
    assert "linear layers packed" in engine.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_layer_takes_whatever_a_plain_one_takes(dtype: torch.dtype, bias: bool) -> None:
    if not (dtype is torch.float32 or BFLOAT16):
        pytest.skip("this processor packs no such layer, nor do we")
    plain = Linear(64, 96, bias=bias, dtype=dtype)
    layer = PackedLinear(plain, rows=4)
    numbers = torch.arange(2 * 9 * 128).sin().to(dtype).view(2, 9, 128)
    column = numbers.view(2, 128, 9)[:, :64].transpose(1, 2)
    near = 1e-5 if dtype is torch.float32 else 1e-2
    for given in (numbers[0, 0, :64], numbers[0, :0, :64], numbers[:, ::2, :64], column):
        torch.testing.assert_close(layer(given), plain(given), rtol=0, atol=near)
    assert (layer.weight.dtype, layer.weight.shape) == (dtype, (96, 64))


def test_the_plain_weight_is_given_back() -> None:
    network = layers()
    weights = [weakref.ref(layer.weight) for layer in network.children()]
    assert pack(network, row()) == "4 of 4 linear layers packed"
    gc.collect()
    assert [weight() for weight in weights] == [None] * 4


def test_an_output_layer_tied_to_the_embedding_leaves_the_embedding_its_weight() -> None:
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2
    )
    config.tie_word_embeddings = True
    network: Any = LlamaForCausalLM(config)
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        before = network(ids).logits
        assert network.lm_head.weight is network.model.embed_tokens.weight
        pack(network, row())
        after = network(ids).logits
    assert type(network.lm_head) is PackedLinear
    torch.testing.assert_close(after, before)


def test_what_others_put_on_a_layer_stays() -> None:
    network = layers()
    network[1].forward = network[1].forward
    network[2].to("meta")
    assert pack(network, row()) == "2 of 2 linear layers packed"
    assert kinds(network) == [PackedLinear, Linear, Linear, PackedLinear]


def test_a_model_that_multiplies_by_a_layers_weight_itself_gives_no_wrong_answer() -> None:
    network = layers()
    pack(network, row())
    assert linear(torch.ones(1, 32), network[0].weight).isnan().all()  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"packed": False}, {"packed": None, "trust_remote_code": True}])
def test_a_model_stays_as_it_is_where_told_or_where_its_code_is_its_own(fields: dict[str, Any]) -> None:
    network = layers()
    assert pack(network, row(**fields)) == ""
    assert kinds(network) == [Linear] * 4
