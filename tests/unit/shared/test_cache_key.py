import base64
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_bytes, from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from shared.cache_key import canonical, request_hash, reusable
from shared.request import Image, Message, Parameters, Request, Text, ToolCall

A = Image(digest="a" * 64)
REQUEST = Request(model="org/model", messages=(Message(role="user", parts=(A, Text(text="What?"))),))


def with_parts(*parts: Text | Image, role: Any = "user") -> Request:
    return Request(model="org/model", messages=(Message(role=role, parts=parts),))


def test_canonical_string_can_be_read_by_eye() -> None:
    assert canonical(REQUEST, "main") == (
        '{"continue_final":false,"messages":[{"parts":[{"image":"' + "a" * 64 + '"},{"text":"What?"}],'
        '"role":"user"}],"model":"org/model","parameters":{"stop":[]},"revision":"main","version":1}'
    )


def turns(*exchanges: tuple[str, str]) -> Request:
    """A conversation that calls a function in each exchange, under an id, and gets the answer to another."""
    said = [Message(role="user", parts=(Text(text="What?"),))]
    for own, answered in exchanges:
        call = ToolCall(id=own, name="weather", arguments="{}")
        said.append(Message(role="assistant", parts=(), calls=(call,)))
        said.append(Message(role="tool", parts=(Text(text="Rain."),), answers=answered))
    return Request(model="org/model", messages=tuple(said))


def test_each_answer_belongs_to_its_own_call_however_many_there_were_before() -> None:
    in_order = turns(("a", "a"), ("b", "b"), ("c", "c"))
    for other in (turns(("a", "a"), ("b", "b"), ("c", "b")), turns(("a", "a"), ("b", "b"), ("c", "a"))):
        assert request_hash(in_order, "main") != request_hash(other, "main")


def test_who_names_each_turn_s_call_alike_gets_the_later_one_answered() -> None:
    """Some clients count the calls of each turn anew."""
    alike, apart = turns(("call_0", "call_0"), ("call_0", "call_0")), turns(("a", "a"), ("b", "b"))
    assert request_hash(alike, "main") == request_hash(apart, "main")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Parameters(stop=("a", "b")), Parameters(stop=("b", "a", "a"))),
        (Parameters(temperature=0), Parameters(temperature=-0.0)),
        (Parameters(frequency_penalty=1), Parameters(frequency_penalty=1.0)),
        (Parameters(logit_bias=((5, 1), (7, 2))), Parameters(logit_bias=((7, 2.0), (5, 1.0)))),
        (Parameters(stop_token_ids=(5, 7)), Parameters(stop_token_ids=(7, 5, 7))),
    ],
)
def test_the_same_parameters_written_otherwise_share_a_hash(one: Parameters, other: Parameters) -> None:
    requests = [REQUEST.model_copy(update={"parameters": p}) for p in (one, other)]
    assert request_hash(requests[0], "main") == request_hash(requests[1], "main")


@pytest.mark.parametrize("image", [Image(url="https://example.org/a.png"), Image(data=b"x")])
def test_picture_without_digest_is_never_hashed(image: Image) -> None:
    with pytest.raises(ValueError, match="no digest"):
        request_hash(with_parts(image), "main")


def test_the_same_question_by_every_wire_shares_a_hash() -> None:
    b64 = base64.b64encode(b"\x89PNG\r\n\x1a\n picture").decode()
    uri = f"data:image/png;base64,{b64}"
    picture = {"type": "image_url", "image_url": {"url": uri}}
    text = {"type": "text", "text": "What?"}
    few = {"parameters": {"max_new_tokens": 5}}
    turns = {"messages": [{"role": "user", "content": [picture, text]}]}
    requests = [
        from_chat(turns | {"max_tokens": 5, "stream": True}).request,
        from_job({"input": {"prompt": "What?", "image": b64}, "priority": "batch"} | few).request,
        from_job(turns | few).request,
        from_hf({"inputs": {"image": uri, "text": "What?"}} | few).request,
        from_hf({"inputs": {"images": [b64], "question": "What?"}} | few).request,
        from_hf({"inputs": f"![]({uri})What?"} | few).request,
        from_hf({"inputs": b64, "image": b64, "question": "What?"} | few).request,
    ]
    assert len({request_hash(r.with_media((A,)), "main") for r in requests}) == 1


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ({"image_url": {"url": "https://a.b/c", "max_pixels": 50176}}, {}),
        ({"image_url": {"url": "https://a.b/c"}, "max_pixels": 50176}, {}),
        ({}, {"max_pixels": 50176}),
        ({}, {"mm_processor_kwargs": {"max_pixels": 50176}}),
        ({}, {"mm_processor_kwargs": {"size": {"longest_edge": 50176}}}),
        ({}, {"mm_processor_kwargs": {"images_kwargs": {"max_pixels": 50176}}}),
    ],
)
def test_fewer_pixels_are_one_question_in_every_spelling(part: dict[str, Any], body: dict[str, Any]) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.b/c"}, **part}
    turn = {"role": "user", "content": [picture, {"type": "text", "text": "x"}]}
    asked = from_chat({"messages": [turn], **body}).request.with_media((A,)).for_model("org/model")
    few = with_parts(A.model_copy(update={"max_pixels": 50176}), Text(text="x"))
    assert asked.shown[0].max_pixels == 50176
    assert request_hash(asked, "main") == request_hash(few, "main")


def test_a_continued_answer_by_every_wire_shares_a_hash() -> None:
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It"}]
    flagged = {"messages": turns, "continue_final_message": True}
    requests = [
        from_chat(flagged).request,
        from_job(flagged).request,
        from_bytes(b'{"inputs": ' + str(turns).replace("'", '"').encode() + b"}", None).request,
    ]
    assert len({request_hash(r, "main") for r in requests}) == 1


GREEDY = Parameters(temperature=0)
SAMPLING = Parameters(temperature=0.7)
SEEDED = Parameters(temperature=0.7, seed=0)
PLAIN = Parameters()


def drawn(parameters: Parameters) -> Request:
    message = Message(role="user", parts=(Text(text="Hi"),))
    return Request(model="m", messages=(message,), parameters=parameters)


@pytest.mark.parametrize("parameters", [GREEDY, SAMPLING, SEEDED, PLAIN])
@pytest.mark.parametrize("hf", [True, False])
def test_a_caller_who_refuses_the_cache_always_gets_a_new_query(parameters: Parameters, hf: bool) -> None:
    assert not reusable(drawn(parameters), use_cache=False, samples_default=False, hf=hf)


@pytest.mark.parametrize("parameters", [GREEDY, SAMPLING, SEEDED, PLAIN])
@pytest.mark.parametrize("samples_default", [True, False, None])
def test_hugging_face_routes_keep_their_cache(parameters: Parameters, samples_default: bool | None) -> None:
    assert reusable(drawn(parameters), use_cache=True, samples_default=samples_default, hf=True)


@pytest.mark.parametrize(
    ("parameters", "samples_default", "expected"),
    [
        (PLAIN, False, True),
        (PLAIN, True, False),
        (PLAIN, None, False),
        (GREEDY, True, True),
        (GREEDY, None, True),
        (SAMPLING, False, False),
        (SEEDED, True, True),
        (SEEDED, None, True),
        (Parameters(do_sample=False), None, True),
        (Parameters(do_sample=True), False, False),
        (Parameters(top_p=0.5), False, True),
    ],
)
def test_sampling_is_a_new_draw(parameters: Parameters, samples_default: bool | None, expected: bool) -> None:
    asked = drawn(parameters)
    assert reusable(asked, use_cache=True, samples_default=samples_default, hf=False) is expected
