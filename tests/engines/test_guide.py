"""What transformers' guide to image-text-to-text models computes is computed here, token for token.

Each body that docs/guide.md names goes through the routes' readers, the worker's decoder and the engines. The
models are tiny and random: each answer depends on every token and pixel before it.
"""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL.Image import Image as Picture
from transformers import TextIteratorStreamer
from transformers.image_utils import load_image

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from shared.models import Model
from shared.request import Request
from shared.settings import PictureSettings
from tests.engines.continuous.conftest import TINY
from tests.support.families import FAMILIES
from tests.support.families.asking import ANSWER, RED, WIDE, Subject, spot
from tests.support.families.family import Family, called, hf
from tests.support.pictures import decoded, encoded
from worker.engines.base import Engine, Finish, Row
from worker.engines.registry import create
from worker.fair_semaphore import Waiter
from worker.media.picture_decoder import PictureDecoder

# Those of the catalogue, and LLaVA's successor.
NAMES = ["idefics2", "llava", "llava-onevision", "gemma3", "qwen2.5-vl", "qwen3-vl", "smolvlm", "gemma4"]
ASKED = [family for family in FAMILIES if family.name in NAMES]
QWEN = next(family for family in ASKED if family.name == "qwen2.5-vl")
ENGINES = ("sequential", "continuous")
# What torch's product in 8 bits and bfloat16 refuses (LLaVA) or dies of (layers as narrow as this Gemma 4's).
NOT_IN_BFLOAT16 = {"llava", "gemma4"}
QUANTISED = [
    pytest.param(family, "float32" if family.name in NOT_IN_BFLOAT16 else "bfloat16", id=family.name)
    for family in ASKED
]
INT8 = {"quant_method": "quanto", "weights": "int8"}
LENGTH = {"max_new_tokens": ANSWER}
Turns = list[dict[str, Any]]


def uri(picture: Picture, kind: str = "PNG") -> str:
    """transformers reads it as well, so that both sides are given the same chat."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded(picture, kind)).decode()}"


def said(text: str, *pictures: dict[str, str], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [*pictures, {"type": "text", "text": text}]}


SHOWN, OTHER = ({"type": "image", "image": uri(picture)} for picture in (RED, WIDE))
SLOT = {"type": "image"}
QUESTION = [said("What is it?", SHOWN)]
TURNS = [*QUESTION, said("A spot.", role="assistant"), said("And this?", OTHER)]
BEGUN = [*QUESTION, said("There is a", role="assistant")]


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    yield decoder
    decoder.close()


@pytest.fixture(params=ASKED, ids=called)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family: Family = request.param
    return Subject(family, family.folder(tmp_path_factory.getbasetemp()))


def answer(engine: Engine, request: Request, decoder: PictureDecoder) -> tuple[Finish, str]:
    """The answer, and the text that its stream shows."""
    texts: list[str] = []
    with decoder.decode([picture.data or b"" for picture in request.images], Waiter("")) as pictures:
        prompt = engine.prepare(request, pictures, "")
    row = Row(prompt, request.parameters, lambda piece: texts.append(piece.text), threading.Event())
    return engine.generate(row), "".join(texts)


def answers(subject: Subject, requests: list[Request], decoder: PictureDecoder) -> set[tuple[int, ...]]:
    """The ids that every engine gives one request; the routes make the same of their bodies."""
    assert len({_question(request) for request in requests}) == 1
    return {answer(subject.engine(name), requests[0], decoder)[0].ids for name in ENGINES}


def _question(request: Request) -> str:
    """Without the places in a body, which differ from route to route."""
    media = tuple(part.model_copy(update={"param": None}) for part in request.media)
    return repr(request.with_media(media).model_copy(update={"named": {}}))


def asked(messages: Turns) -> list[Request]:
    """A chat by each route that takes one; only the first continues a final answer unasked."""
    flag = {"continue_final_message": True} if messages[-1]["role"] == "assistant" else {}
    return [
        from_hf({"inputs": messages, "parameters": LENGTH}).request,
        from_chat({"messages": messages, "max_tokens": ANSWER, **flag}).request,
        from_job({"messages": messages, "parameters": LENGTH, **flag}).request,
    ]


def piped(subject: Subject, turns: Turns) -> tuple[int, ...]:
    """The ids that the pipeline puts behind a chat."""
    pipe = hf.pipeline("image-text-to-text", model=subject.network, processor=subject.processor)
    prompt = pipe.preprocess(hf.pipelines.base.Chat(turns))
    [record] = pipe(turns, return_tensors=True, generate_kwargs=subject.greedy())
    return tuple(record["generated_token_ids"][prompt["input_ids"].shape[1] :].tolist())


def test_a_chat_is_answered_as_by_the_template_and_generate(
    subject: Subject, decoder: PictureDecoder
) -> None:
    wanted = subject.continued(subject.templated(TURNS))
    assert answers(subject, asked(TURNS), decoder) == {wanted}


def test_an_answer_that_a_caller_has_begun_goes_on_as_in_the_pipeline(
    subject: Subject, decoder: PictureDecoder
) -> None:
    assert answers(subject, asked(BEGUN), decoder) == {piped(subject, BEGUN)}


def test_pictures_beside_a_chat_stand_where_it_leaves_room_for_them(
    subject: Subject, decoder: PictureDecoder
) -> None:
    """transformers' processor takes them apart; its pipeline, as of 5.23, no longer does."""
    messages = [said("What are they?", SLOT, SLOT)]
    text = subject.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    wanted = subject.continued(subject.processor(text=text, images=[[RED, WIDE]], return_tensors="pt"))
    inputs = {"text": messages, "images": [SHOWN["image"], OTHER["image"]]}
    request = from_hf({"inputs": inputs, "parameters": LENGTH}).request
    assert answers(subject, [request], decoder) == {wanted}


def test_a_stream_shows_what_a_text_iterator_streamer_shows(
    subject: Subject, decoder: PictureDecoder
) -> None:
    shown: Any = TextIteratorStreamer(subject.tokenizer, skip_prompt=True, skip_special_tokens=True)
    subject.continued(subject.templated(TURNS), streamer=shown, do_sample=False)
    _, streamed = answer(subject.engine(), asked(TURNS)[0], decoder)
    # But half a character at its end.
    assert streamed == "".join(shown).rstrip("\ufffd") != ""


def test_a_row_s_static_cache_answers_as_that_of_generate(
    subject: Subject, decoder: PictureDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = subject.continued(subject.templated(QUESTION), cache_implementation="static")
    engine, init, made = subject.engine(cache="static"), hf.StaticCache.__init__, list[None]()
    monkeypatch.setattr(hf.StaticCache, "__init__", lambda *args, **kw: made.append(init(*args, **kw)))
    assert answer(engine, asked(QUESTION)[0], decoder)[0].ids == wanted
    assert len(made) == 1


@pytest.mark.parametrize(("subject", "dtype"), QUANTISED, indirect=["subject"])
def test_a_row_s_quanto_weights_answer_as_those_of_from_pretrained(
    subject: Subject, dtype: str, decoder: PictureDecoder
) -> None:
    pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    int8 = hf.QuantoConfig(weights="int8")
    load = hf.AutoModelForImageTextToText.from_pretrained
    network = load(subject.folder, dtype=dtype, device_map="auto", quantization_config=int8).eval()
    fields: dict[str, Any] = {"dtype": dtype, "quantization_config": INT8}
    engine = create(Model(id="tiny/int8", source=str(subject.folder), engine="sequential", **fields)).load()
    wanted = subject.continued(subject.templated(QUESTION), network)
    assert answer(engine, asked(QUESTION)[0], decoder)[0].ids == wanted


def test_a_row_that_says_no_dtype_has_the_one_that_transformers_takes_unasked() -> None:
    engine: Any = create(Model(id="tiny/auto", source=str(TINY), engine="sequential")).load()
    assert engine._loaded.network.dtype is hf.AutoModelForImageTextToText.from_pretrained(TINY).dtype


def test_a_photograph_as_large_as_the_guide_s_reaches_the_processor_with_every_pixel(
    decoder: PictureDecoder,
) -> None:
    bee = spot("green", (5184, 3456))
    seen, wanted = decoded(decoder, encoded(bee, "JPEG")), load_image(uri(bee, "JPEG"))
    assert seen.size == wanted.size == bee.size
    assert seen.tobytes() == wanted.tobytes()
