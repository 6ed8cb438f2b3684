import base64
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_bytes, from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from shared.cache_key import canonical, request_hash
from shared.request import Format, Image, Message, Parameters, RepetitionDetection, Request, Text, ToolCall

A, B = Image(digest="a" * 64), Image(digest="b" * 64)
REQUEST = Request(model="org/model", messages=(Message(role="user", parts=(A, Text(text="What?"))),))

CHANGES: dict[str, Any] = {
    "max_new_tokens": 5,
    "min_new_tokens": 4,
    "do_sample": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "repetition_penalty": 1.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "no_repeat_ngram_size": 5,
    "logit_bias": ((5, 0.5),),
    "seed": 5,
    "stop": ("END",),
    "stop_token_ids": (5,),
    "logprobs": 0,
    "format": Format(kind="regex", content="a"),
    "n": 2,
    "ignore_eos": True,
    "skip_special_tokens": False,
    "chat_template_kwargs": (("thinking", False),),
    "num_frames": 5,
    "fps": 0.5,
    "repetition_detection": RepetitionDetection(max_pattern_size=5, min_count=5),
    "include_reasoning": False,
    "min_pixels": 784,
    "max_pixels": 50176,
}


def with_parts(*parts: Text | Image, role: Any = "user") -> Request:
    return Request(model="org/model", messages=(Message(role=role, parts=parts),))


def test_canonical_string_can_be_read_by_eye() -> None:
    assert canonical(REQUEST, "main") == (
        '{"continue_final":false,"messages":[{"parts":[{"image":"' + "a" * 64 + '"},{"text":"What?"}],'
        '"role":"user"}],"model":"org/model","parameters":{"stop":[]},"raw":false,"revision":"main","version":1}'
    )


def test_every_parameter_changes_the_hash() -> None:
    assert set(CHANGES) == set(Parameters.model_fields)
    hashes = {
        request_hash(REQUEST.model_copy(update={"parameters": Parameters(**{name: value})}), "main")
        for name, value in CHANGES.items()
    }
    assert len(hashes | {request_hash(REQUEST, "main")}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "other",
    [
        REQUEST.model_copy(update={"model": "org/other"}),
        REQUEST.model_copy(update={"continue_final": True}),
        REQUEST.model_copy(update={"raw": True}),
        with_parts(B, Text(text="What?")),
        with_parts(Text(text="What?"), A),
        with_parts(A, A, Text(text="What?")),
        with_parts(A, Text(text="What? ")),
        with_parts(A, Text(text="Wha"), Text(text="t?")),
        with_parts(A, Text(text="What?"), role="system"),
        with_parts(Text(text="a" * 64), Text(text="What?")),
    ],
)
def test_another_question_has_another_hash(other: Request) -> None:
    assert request_hash(other, "main") != request_hash(REQUEST, "main")


def conversation_with(*calls: tuple[str, str], answered: int = 0) -> Request:
    """A conversation in which functions were called, each a name and its arguments, and one has answered."""
    called = tuple(ToolCall(id=f"call_{n}", name=name, arguments=a) for n, (name, a) in enumerate(calls))
    return Request(
        model="org/model",
        messages=(
            Message(role="user", parts=(Text(text="What?"),)),
            Message(role="assistant", parts=(), calls=called),
            Message(role="tool", parts=(Text(text="Rain."),), answers=f"call_{answered}"),
        ),
    )


@pytest.mark.parametrize(
    "other",
    [
        conversation_with(("forecast", "{}"), ("weather", "{}")),
        conversation_with(("weather", '{"city":"Oslo"}'), ("weather", "{}")),
        conversation_with(("weather", "{}"), ("forecast", "{}")),
        conversation_with(("weather", "{}")),
        conversation_with(("weather", "{}"), ("weather", "{}"), answered=1),
    ],
    ids=["name", "arguments", "second_name", "fewer", "answers_another"],
)
def test_an_answer_to_another_call_is_never_shared(other: Request) -> None:
    one = conversation_with(("weather", "{}"), ("weather", "{}"))
    assert request_hash(one, "main") != request_hash(other, "main")


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


def test_another_revision_has_another_hash() -> None:
    assert request_hash(REQUEST, "main") != request_hash(REQUEST, "v2")


def test_left_out_is_not_the_same_as_zero() -> None:
    zero = REQUEST.model_copy(update={"parameters": Parameters(seed=0)})
    assert request_hash(zero, "main") != request_hash(REQUEST, "main")


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


def test_where_a_picture_came_from_does_not_matter() -> None:
    elsewhere = Image(digest=A.digest, url=None, data=b"x", param="inputs")
    assert request_hash(with_parts(elsewhere, Text(text="What?")), "main") == request_hash(REQUEST, "main")


def test_the_same_question_by_every_wire_shares_a_hash() -> None:
    b64 = base64.b64encode(b"\x89PNG\r\n\x1a\n picture").decode()
    uri = f"data:image/png;base64,{b64}"
    picture = {"type": "image_url", "image_url": {"url": uri}}
    text = {"type": "text", "text": "What?"}
    few = {"max_new_tokens": 5}
    requests = [
        from_chat(
            {"messages": [{"role": "user", "content": [picture, text]}], "max_tokens": 5, "stream": True}
        ).request,
        from_job(
            {"input": {"prompt": "What?", "image": b64}, "parameters": few, "priority": "batch"}
        ).request,
        from_job({"messages": [{"role": "user", "content": [picture, text]}], "parameters": few}).request,
        from_hf({"inputs": {"image": uri, "text": "What?"}, "parameters": few}).request,
        from_hf({"inputs": {"images": [b64], "question": "What?"}, "parameters": few}).request,
        from_hf({"inputs": f"![]({uri})What?", "parameters": few}).request,
        from_hf({"inputs": b64, "image": b64, "question": "What?", "parameters": few}).request,
    ]
    assert {request_hash(r.with_media((A,)), "main") for r in requests} == {
        request_hash(requests[0].with_media((A,)), "main")
    }


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
    asked = from_chat(
        {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": "x"}]}], **body}
    )
    [shown] = asked.request.with_media((A,)).shown
    few = with_parts(A.model_copy(update={"max_pixels": 50176}), Text(text="x"))
    assert shown.max_pixels == 50176
    assert request_hash(asked.request.with_media((A,)).for_model("org/model"), "main") == request_hash(
        few, "main"
    )


def test_a_continued_answer_by_every_wire_shares_a_hash() -> None:
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It"}]
    flagged = {"messages": turns, "continue_final_message": True}
    requests = [
        from_chat(flagged).request,
        from_job(flagged).request,
        from_bytes(b'{"inputs": ' + str(turns).replace("'", '"').encode() + b"}", None).request,
    ]
    assert len({request_hash(r, "main") for r in requests}) == 1
