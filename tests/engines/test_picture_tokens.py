"""What pictures of a size become is known before they are resized, or not told at all."""

from typing import Any

import pytest
from PIL import Image as Pictures
from transformers import AutoConfig

from shared.errors import CallerError
from shared.request import Image, Message, Parameters
from tests.engines import suite
from tests.engines.continuous.conftest import loaded
from tests.support.families import FAMILIES, NAMED
from tests.support.families.asking import RED, Conversation, Subject
from tests.support.families.family import Family, called, hf
from worker.engines.prompt.picture_tokens import PictureTokenCounter, check_pixels, pixel_bounds
from worker.engines.prompt.renderer import Renderer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZES = (((30, 30),), ((300, 41),), ((33, 500),), ((2000, 1500),), ((30, 30), (300, 41), (64, 48)))
# The others' processors have no such method, or one that counts otherwise than they do.
TELL = {
    *("internvl", "mistral3", "paligemma", "gemma3", "gemma4"),
    *("qwen2-vl", "qwen2.5-vl", "qwen2.5-vl-sliding", "qwen3-vl", "qwen3.5", "idefics3"),
}


@pytest.mark.parametrize("family", FAMILIES, ids=called)
def test_no_picture_is_told_to_be_more_than_it_becomes(
    family: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = family.folder(tmp_path_factory.getbasetemp())
    processor = hf.AutoProcessor.from_pretrained(folder)
    renderer = Renderer(processor, AutoConfig.from_pretrained(folder), 2048)
    tokens, told = PictureTokenCounter(processor, renderer.template.mark), list[int]()
    for sizes in SIZES:
        pictures = [Pictures.new("RGB", size) for size in sizes]
        told.append(tokens.of(pictures))
        if told[-1]:
            text = renderer.template.mark * len(sizes)
            [ids] = processor(text=[text], images=[pictures])["input_ids"]
            assert list(ids).count(renderer.image_id) <= told[-1] <= len(ids)
    assert any(told) is (family.name in TELL)
    assert tokens.of([]) == 0


@pytest.mark.parametrize("family", FAMILIES, ids=called)
def test_the_size_that_a_model_saw_is_told_with_its_tokens(
    family: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = family.folder(tmp_path_factory.getbasetemp())
    processor = hf.AutoProcessor.from_pretrained(folder)
    renderer = Renderer(processor, AutoConfig.from_pretrained(folder), 10**6)
    one, two = Pictures.new("RGB", (300, 41)), Pictures.new("RGB", (64, 48))
    talk = Conversation("seen", ((RED, "What?"),))
    prompt = renderer.prompt(talk.request(), [one])
    [told] = prompt.seen
    assert told.tokens == prompt.image_tokens
    assert told.original in (None, (300, 41))
    if family.name.startswith("qwen"):
        both = (Message(role="user", parts=(Image(), Image())),)
        several = renderer.prompt(talk.request().model_copy(update={"messages": both}), [one, two])
        each = [(round(s.width / s.height), s.tokens) for s in several.seen]
        assert each[0][0] > each[1][0]
        assert sum(s.tokens or 0 for s in several.seen) == several.image_tokens
        cell = processor.image_processor.patch_size * processor.image_processor.merge_size
        assert all(s.width * s.height // cell**2 == s.tokens for s in several.seen)
        look = {"parameters": Parameters(max_pixels=2**31 - 1)}
        above, bounds = talk.request().model_copy(update=look), pixel_bounds(processor)
        with pytest.raises(CallerError, match="pixels") as refused:
            check_pixels(above, bounds)
        assert refused.value.param == "max_pixels"


@pytest.mark.parametrize("family", FAMILIES, ids=called)
def test_a_prompt_that_fits_to_the_last_token_is_never_refused_for_its_text(
    family: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = family.folder(tmp_path_factory.getbasetemp())
    processor, config = hf.AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    for blanks in (" ", "\n\n", " \n\t" * 40):
        talk = Conversation("blanks", ((RED, f"{blanks}What is{blanks}it?{blanks}"),))
        request = talk.request()
        tokens = Renderer(processor, config, 10**6).prompt(request, talk.pictures).tokens
        assert Renderer(processor, config, tokens + 1).prompt(request, talk.pictures).tokens == tokens


def test_pictures_that_do_not_fit_are_refused_before_they_are_resized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine: Any = loaded(engine="sequential", rows=1).engine
    limit = engine.facts.context_length
    pictures = [suite.picture()] * limit

    def resized(*_: object, **__: object) -> None:
        raise AssertionError("pixels were touched")

    processor = engine._loaded.renderer._processor.image_processor
    monkeypatch.setattr(type(processor), "preprocess", resized)
    with pytest.raises(CallerError, match=f"length is {limit} tokens .* pictures alone") as refused:
        engine.prepare(suite.question("What is it?", len(pictures)), pictures)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(AssertionError, match="touched"):
        engine.prepare(suite.question("What is it?", 1), pictures[:1])


def test_a_picture_of_a_shape_that_no_processor_takes_is_the_callers_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Not ours, because its tokens cannot be counted either."""
    qwen = NAMED["qwen2-vl"]
    engine = Subject(qwen, qwen.folder(tmp_path_factory.getbasetemp())).engine("sequential")
    with suite.refused("invalid_image"):
        engine.prepare(suite.question("What is it?", 1), [Pictures.new("RGB", (1, 400))])
