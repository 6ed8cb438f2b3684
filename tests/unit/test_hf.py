import base64
import json
from typing import Any

import pytest

from api.dialects.hf import HfCall, from_bytes, from_hf, from_picture
from api.dialects.messages import CAPTION
from shared.errors import CallerError
from shared.request import Image, Message, Parameters, Request, Text
from tests.support.mutations import refusals

PNG = b"\x89PNG\r\n\x1a\n picture"
B64 = base64.b64encode(PNG).decode()
URL = "https://example.org/a.png"
TURNS = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "A?"}, {"type": "image"}]},
    {"role": "assistant", "content": "It is"},
]
FULL: dict[str, Any] = {
    "inputs": {"text": TURNS, "images": [URL, B64]},
    "parameters": {
        "max_new_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 3,
        "do_sample": True,
        "seed": 7,
        "stop": ["END"],
        "stop_sequences": ["END"],
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
        "return_full_text": True,
        "details": False,
        "watermark": False,
        "typical_p": 1.0,
        "num_beams": 1,
        "use_cache": True,
        "generate_kwargs": {"max_new_tokens": 5, "do_sample": True},
    },
    "options": {"use_cache": False, "wait_for_model": True},
    "stream": True,
}


def asked(*parts: Text | Image) -> tuple[Message, ...]:
    return (Message(role="user", parts=parts),)


def test_messages_with_pictures_beside_them_fill_their_slots_and_continue() -> None:
    assert from_hf(FULL, "org/model") == HfCall(
        request=Request(
            model="org/model",
            messages=(
                Message(
                    role="user",
                    parts=(
                        Image(url=URL, param="inputs.images[0]"),
                        Text(text="A?"),
                        Image(data=PNG, param="inputs.images[1]"),
                    ),
                ),
                Message(role="assistant", parts=(Text(text="It is"),)),
            ),
            parameters=Parameters(
                max_new_tokens=5,
                temperature=0.5,
                top_p=0.5,
                top_k=3,
                do_sample=True,
                seed=7,
                stop=("END",),
                repetition_penalty=1.1,
                frequency_penalty=0.1,
            ),
            continue_final=True,
            named={
                "messages": "inputs",
                "max_new_tokens": "parameters.max_new_tokens",
                "temperature": "parameters.temperature",
                "top_p": "parameters.top_p",
                "top_k": "parameters.top_k",
                "do_sample": "parameters.do_sample",
                "seed": "parameters.seed",
                "stop": "parameters.stop",
                "repetition_penalty": "parameters.repetition_penalty",
                "frequency_penalty": "parameters.frequency_penalty",
            },
        ),
        task="image-text-to-text",
        stream=True,
        return_full_text=True,
        use_cache=False,
        wait_for_model=True,
    )


@pytest.mark.parametrize(
    ("body", "task", "messages"),
    [
        ({"inputs": "Hi"}, "image-text-to-text", asked(Text(text="Hi"))),
        (
            {"inputs": f"![]({URL})What?"},
            "image-text-to-text",
            asked(Image(url=URL, param="inputs"), Text(text="What?")),
        ),
        ({"inputs": B64}, "image-to-text", asked(Image(data=PNG, param="inputs"), Text(text=CAPTION))),
        (
            {"inputs": f"data:image/png;base64,{B64}", "parameters": {"max_new_tokens": None}},
            "image-to-text",
            asked(Image(data=PNG, param="inputs"), Text(text=CAPTION)),
        ),
        (
            {"inputs": {"image": URL, "text": "What?"}},
            "image-text-to-text",
            asked(Image(url=URL, param="inputs.image"), Text(text="What?")),
        ),
        (
            {"inputs": {"image": B64}},
            "image-text-to-text",
            asked(Image(data=PNG, param="inputs.image"), Text(text=CAPTION)),
        ),
        ({"inputs": {"text": "What?"}}, "image-text-to-text", asked(Text(text="What?"))),
        (
            {"inputs": {"images": [URL, B64], "text": "Which?"}},
            "image-text-to-text",
            asked(
                Image(url=URL, param="inputs.images[0]"),
                Image(data=PNG, param="inputs.images[1]"),
                Text(text="Which?"),
            ),
        ),
        (
            {"inputs": {"images": URL, "text": "What?"}},
            "image-text-to-text",
            asked(Image(url=URL, param="inputs.images"), Text(text="What?")),
        ),
        (
            {"inputs": {"question": "What?", "image": B64}},
            "visual-question-answering",
            asked(Image(data=PNG, param="inputs.image"), Text(text="What?")),
        ),
        (
            {"inputs": {"question": "What?", "image": B64}, "parameters": {}},
            "visual-question-answering",
            asked(Image(data=PNG, param="inputs.image"), Text(text="What?")),
        ),
        (
            {"inputs": B64, "parameters": {"top_k": 2}, "question": "What?", "image": B64},
            "visual-question-answering",
            asked(Image(data=PNG, param="inputs"), Text(text="What?")),
        ),
        (
            {"inputs": [{"role": "user", "content": [{"type": "image", "image": B64}]}]},
            "image-text-to-text",
            asked(Image(data=PNG, param="inputs[0].content[0].image"), Text(text=CAPTION)),
        ),
    ],
)
def test_every_form_that_clients_send_is_read(body: Any, task: str, messages: tuple[Message, ...]) -> None:
    call = from_hf(body, "org/model")
    assert call.task == task
    asked_in = "question" if "question" in body else "inputs"
    assert call.request == Request(model="org/model", messages=messages, named={"messages": asked_in})


def test_top_k_of_a_question_is_the_number_of_answers() -> None:
    call = from_hf({"inputs": {"question": "?", "image": URL}, "parameters": {"top_k": 2}}, "m")
    assert call.answers == 2
    assert call.request.parameters == Parameters()


@pytest.mark.parametrize(
    ("body", "content_type", "task"),
    [
        (PNG, None, "image-to-text"),
        (PNG, "image/png", "image-to-text"),
        (PNG, "application/octet-stream", "image-to-text"),
        (PNG, "application/x-www-form-urlencoded", "image-to-text"),
        (b'{"inputs": "Hi"}', "application/json; charset=utf-8", "image-text-to-text"),
        (b' {"inputs": "Hi"}', None, "image-text-to-text"),
        (b'{"inputs": "Hi"}', "application/x-www-form-urlencoded", "image-text-to-text"),
        (b'{"inputs": "Hi"}', "text/plain;charset=UTF-8", "image-text-to-text"),
        (b'{"not": "a picture"}', "image/png", "image-to-text"),
    ],
)
def test_body_is_read_by_its_type_and_first_byte(body: bytes, content_type: str | None, task: str) -> None:
    assert from_bytes(body, content_type, "m").task == task


def test_picture_bytes_ask_for_a_description() -> None:
    call = from_picture(PNG, "m")
    assert call.request.messages == asked(Image(data=PNG), Text(text=CAPTION))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", None), (b"", "application/json"), (PNG, "application/json"), (b"{", None)],
)
def test_body_that_is_neither_is_refused(body: bytes, content_type: str | None) -> None:
    with pytest.raises(CallerError) as refused:
        from_bytes(body, content_type, "m")
    assert refused.value.code == "invalid_json"


def test_empty_picture_is_refused() -> None:
    with pytest.raises(CallerError) as refused:
        from_bytes(b"", "image/png", "m")
    assert refused.value.code == "invalid_image"


@pytest.mark.parametrize("images", [[], [URL], [URL, URL, URL]])
def test_picture_and_slot_counts_that_differ_are_refused(images: list[str]) -> None:
    with pytest.raises(CallerError) as refused:
        from_hf({"inputs": {"text": TURNS, "images": images}}, "m")
    assert (refused.value.code, refused.value.status) == ("image_count_mismatch", 422)
    assert refused.value.param == "inputs.images"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request", "inputs"),
        ({"inputs": None}, "invalid_request", "inputs"),
        ({"inputs": 5}, "invalid_request", "inputs"),
        ({"inputs": {}}, "invalid_request", "inputs"),
        ({"inputs": []}, "invalid_request", "inputs"),
        ({"inputs": ["Hi"]}, "invalid_request", "inputs[0]"),
        ({"inputs": "Hi", "more": 1}, "unknown_field", "more"),
        ({"inputs": {"text": "Hi", "more": 1}}, "unknown_field", "inputs.more"),
        ({"inputs": {"text": "Hi", "question": "Hi"}}, "invalid_request", "inputs.question"),
        ({"inputs": {"text": "Hi", "image": URL, "images": [URL]}}, "invalid_request", "inputs.images"),
        ({"inputs": {"question": "Hi"}}, "invalid_request", "inputs.image"),
        ({"inputs": {"text": ["Hi"]}}, "invalid_request", "inputs.text[0]"),
        ({"inputs": {"image": "/etc/passwd", "text": "Hi"}}, "invalid_image_url", "inputs.image"),
        ({"inputs": {"images": [URL, "file:///x"], "text": "Hi"}}, "invalid_image_url", "inputs.images[1]"),
        ({"inputs": "![](/etc/passwd)"}, "invalid_image_url", "inputs"),
        ({"inputs": B64, "image": B64}, "invalid_request", "question"),
        ({"inputs": B64, "image": URL, "question": "?"}, "invalid_request", "image"),
        ({"inputs": {}, "question": "?"}, "invalid_request", "inputs"),
        ({"inputs": "Hi", "parameters": []}, "invalid_request", "parameters"),
        ({"inputs": "Hi", "parameters": {"min_p": 1}}, "unknown_field", "parameters.min_p"),
        (
            {"inputs": "Hi", "parameters": {"max_new_tokens": 0}},
            "invalid_request",
            "parameters.max_new_tokens",
        ),
        (
            {"inputs": "Hi", "parameters": {"max_length": 20}},
            "unsupported_parameter",
            "parameters.max_length",
        ),
        ({"inputs": "Hi", "parameters": {"num_beams": 4}}, "unsupported_parameter", "parameters.num_beams"),
        ({"inputs": "Hi", "parameters": {"details": True}}, "unsupported_parameter", "parameters.details"),
        ({"inputs": "Hi", "parameters": {"lang": "de"}}, "unsupported_parameter", "parameters.lang"),
        (
            {"inputs": "Hi", "parameters": {"stop": ["a"], "stop_sequences": ["b"]}},
            "invalid_request",
            "parameters.stop_sequences",
        ),
        (
            {"inputs": "Hi", "parameters": {"generate_kwargs": {"top_p": 2}}},
            "invalid_request",
            "parameters.generate_kwargs.top_p",
        ),
        (
            {"inputs": "Hi", "parameters": {"generate_kwargs": {"num_beams": 2}}},
            "unsupported_parameter",
            "parameters.generate_kwargs.num_beams",
        ),
        (
            {"inputs": "Hi", "parameters": {"seed": 1, "generate_kwargs": {"seed": 2}}},
            "invalid_request",
            "parameters.generate_kwargs.seed",
        ),
        (
            {"inputs": {"question": "?", "image": URL}, "parameters": {"top_k": 0}},
            "invalid_request",
            "parameters.top_k",
        ),
        ({"inputs": "Hi", "options": {"use_cache": "no"}}, "invalid_request", "options.use_cache"),
        ({"inputs": "Hi", "options": {"use_gpu": True}}, "unknown_field", "options.use_gpu"),
    ],
)
def test_wrong_field_is_named(body: Any, code: str, param: str | None) -> None:
    with pytest.raises(CallerError) as refused:
        from_hf(body, "m")
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    "body",
    [
        FULL,
        {"inputs": {"image": B64, "question": "?"}, "parameters": {"top_k": 1}},
        {"inputs": B64, "question": "?", "image": B64},
        {"inputs": f"a ![]({URL}) b"},
        {"inputs": TURNS[1:]},
    ],
)
def test_no_broken_body_is_answered_with_a_server_error(body: Any) -> None:
    found = refusals(lambda broken: from_hf(broken, "m"), body)
    assert len(found) > 20
    assert all(len(error.param or "") <= 200 and len(error.message) <= 500 for error in found)


def test_picture_data_never_stands_in_an_error() -> None:
    secret = "QUJD" * 1000
    for body in ({"inputs": {"image": secret + "!", "text": "?"}}, {"inputs": {"images": [secret, 5]}}):
        with pytest.raises(CallerError) as refused:
            from_bytes(json.dumps(body).encode(), None, "m")
        assert "QUJD" not in refused.value.message
