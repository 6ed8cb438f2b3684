"""Every family of vision-language models answers here as it does by transformers alone.

The models are tiny and random: each answer depends on every token and pixel before it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.models import Model
from tests.support.families import FAMILIES, NAMED
from tests.support.families.asking import BLUE, CONVERSATIONS, RED, Conversation, Subject
from tests.support.families.family import Family, called
from worker.engines.loading.pretrained import pretrained
from worker.engines.registry import create

# PaliGemma's processor makes arrays of tensors in a way numpy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SAMPLED = {"temperature": 1.5, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.2}


@pytest.fixture(scope="module", params=FAMILIES, ids=called)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family: Family = request.param
    return Subject(family, family.folder(tmp_path_factory.getbasetemp()))


PAIRS = [pytest.param(f, c, id=f"{f.name}-{c.name}") for f in FAMILIES for c in CONVERSATIONS if c.fits(f)]


@pytest.mark.parametrize(("subject", "conversation"), PAIRS, indirect=["subject"])
def test_greedy_answers_are_those_of_transformers(subject: Subject, conversation: Conversation) -> None:
    engine = subject.engine()
    finish = engine.generate(subject.row(engine, conversation))
    assert finish.ids == subject.generated(conversation)


@pytest.mark.parametrize(
    ("subject", "left_out"),
    [
        (NAMED["gemma3"], "token_type_ids"),
        (NAMED["gemma4"], "mm_token_type_ids"),
        (NAMED["qwen2.5-vl"], "mm_token_type_ids"),
        (NAMED["mllama"], "cross_attention_mask"),
    ],
    indirect=["subject"],
    ids=called,
)
def test_an_input_that_an_engine_lost_would_be_noticed(subject: Subject, left_out: str) -> None:
    engine, about = subject.engine(), CONVERSATIONS[2]
    row = subject.row(engine, about)
    del row.prompt.inputs[left_out]
    assert engine.generate(row).ids != subject.generated(about)


def test_a_seed_draws_the_tokens_of_transformers(subject: Subject) -> None:
    engine, about = subject.engine(), Conversation("", ((RED, "Say more"),))
    # What a family loads with its first step may draw by itself.
    subject.generated(about)
    torch.manual_seed(5)
    expected = subject.generated(about, do_sample=True, **SAMPLED)
    assert engine.generate(subject.row(engine, about, seed=5, **SAMPLED)).ids == expected


def test_an_answer_depends_on_every_picture(subject: Subject) -> None:
    engine = subject.engine()
    same, first, second = (
        engine.generate(subject.row(engine, Conversation("", ((*pair, "?"),)))).ids
        for pair in [(RED, RED), (BLUE, RED), (RED, BLUE)]
    )
    assert first != same
    assert second != same


def test_an_interrupted_answer_goes_on_as_it_would_have(subject: Subject) -> None:
    engine = subject.engine()
    row = subject.row(engine, CONVERSATIONS[1])
    whole = engine.generate(row)
    resumed = engine.generate(replace(row, published=whole.ids[:7]))
    assert resumed.ids == whole.ids


def test_special_tokens_typed_in_a_chat_are_text(subject: Subject) -> None:
    engine, tokenizer = subject.engine(), subject.tokenizer
    special = set(tokenizer.all_special_ids)
    typed, plain = (
        subject.row(engine, Conversation("", ((RED, text),))).prompt.inputs["input_ids"][0].tolist()
        for text in (" ".join(tokenizer.all_special_tokens), "x")
    )
    assert sum(i in special for i in typed) == sum(i in special for i in plain)


@pytest.mark.parametrize("subject", [NAMED["llava"]], indirect=True, ids=called)
def test_answers_about_other_pixels_share_no_cache(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_other_pixels(model: Model, folder: Path) -> tuple[Any, Any]:
        processor, network = pretrained(model, folder)
        pictures = processor.image_processor
        pictures.__class__ = type("OtherBackend", (type(pictures),), {})
        return processor, network

    usual = subject.engine().fingerprint
    monkeypatch.setattr("worker.engines.loading.loaded.pretrained", with_other_pixels)
    other = create(Model(id="tiny/llava", source=str(subject.folder), engine="sequential")).load()
    assert other.fingerprint != usual


@pytest.mark.parametrize("subject", [NAMED["llava"]], indirect=True, ids=called)
def test_answers_under_another_variable_of_the_template_share_no_cache(subject: Subject) -> None:
    row = {"id": "tiny/llava", "source": str(subject.folder), "engine": "sequential"}
    off = Model.model_validate({**row, "chat_template_kwargs": {"enable_thinking": False}})
    assert create(off).load().fingerprint != subject.engine().fingerprint
