import base64
from typing import Any

import pytest

from api.dialects.hf.task_requests import HfCall, from_bytes, from_hf, from_picture
from api.dialects.messages import CAPTION
from shared.errors import CallerError
from shared.request import Image, Message, Parameters, Request, Text
from tests.support import pictures as make
from tests.support.hf import B64, FULL, PNG, URL

NAMED = [
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "typical_p",
    "do_sample",
    "seed",
    "stop",
    "repetition_penalty",
    "frequency_penalty",
]


def asked(*parts: Text | Image) -> tuple[Message, ...]:
    return (Message(role="user", parts=parts),)


def test_messages_with_pictures_beside_them_fill_their_slots_and_continue() -> None:
    assert from_hf(FULL) == HfCall(
        request=Request(
            model="",
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
                typical_p=1.0,
                do_sample=True,
                seed=7,
                stop=("END",),
                repetition_penalty=1.1,
                frequency_penalty=0.1,
            ),
            continue_final=True,
            named={"messages": "inputs"} | {name: f"parameters.{name}" for name in NAMED},
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
        ({"inputs": "Qk0 data: a"}, "image-text-to-text", asked(Text(text="Qk0 data: a"))),
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
            {"inputs": f" {URL}?width=640"},
            "image-to-text",
            asked(Image(url=f"{URL}?width=640", param="inputs"), Text(text=CAPTION)),
        ),
        (
            {"inputs": "https://example.org/about"},
            "image-text-to-text",
            asked(Text(text="https://example.org/about")),
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
            {"question": "What?", "image": B64},
            "visual-question-answering",
            asked(Image(data=PNG, param="image"), Text(text="What?")),
        ),
        (
            {"inputs": [{"role": "user", "content": [{"type": "image", "image": B64}]}]},
            "image-text-to-text",
            asked(Image(data=PNG, param="inputs[0].content[0].image"), Text(text=CAPTION)),
        ),
    ],
)
def test_every_form_that_clients_send_is_read(body: Any, task: str, messages: tuple[Message, ...]) -> None:
    call = from_hf(body)
    assert call.task == task
    asked_in = "question" if "question" in body else "inputs"
    assert call.request == Request(model="", messages=messages, named={"messages": asked_in})


FILES = {
    "PNG": PNG,
    "JPEG": make.picture("JPEG"),
    "BMP": make.picture("BMP"),
    "TIFF": make.picture("TIFF"),
    "TIFF, big-endian": b"MM\0*\0\0\0\x08",
    "AVIF": b"\0\0\0\x1cftypavif",
    "HEIC": b"\0\0\0\x28ftypheic\0\0\0\0",
}


@pytest.mark.parametrize(
    "lead", ["", "\n", "data:image/png;base64,", "data:application/octet-stream;base64,", "data:;base64,"]
)
@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_a_picture_is_never_asked_about_as_a_wall_of_letters(data: bytes, lead: str) -> None:
    call = from_hf({"inputs": lead + base64.urlsafe_b64encode(data).decode()})
    assert call.request.messages == asked(Image(data=data, param="inputs"), Text(text=CAPTION))


@pytest.mark.parametrize("unit", [".png?", ".png", "?", "http://a.png"])
def test_a_text_that_nearly_is_a_picture_s_address_is_read_in_linear_time(unit: str) -> None:
    text = "http://a" + unit * 200_000 + " x"
    assert from_hf({"inputs": text}).request.messages == asked(Text(text=text))


@pytest.mark.parametrize("words", [" is base64. Decode it.", "\nDecode it", "=\nDecode", ", decoded?"])
def test_a_prompt_about_a_file_s_data_uri_is_not_taken_for_a_picture(words: str) -> None:
    prompt = f"data:text/csv;base64,YSxiCjEsMg={words}"
    assert from_hf({"inputs": prompt}).request.messages == asked(Text(text=prompt))


def test_top_k_of_a_question_is_the_number_of_answers() -> None:
    call = from_hf({"inputs": {"question": "?", "image": URL}, "parameters": {"top_k": 2}})
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
    assert from_bytes(body, content_type).task == task


def test_picture_bytes_ask_for_a_description() -> None:
    call = from_picture(PNG)
    assert call.request.messages == asked(Image(data=PNG), Text(text=CAPTION))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", None), (b"", "application/json"), (PNG, "application/json"), (b"{", None)],
)
def test_body_that_is_neither_is_refused(body: bytes, content_type: str | None) -> None:
    with pytest.raises(CallerError) as refused:
        from_bytes(body, content_type)
    assert refused.value.code == "invalid_json"


def test_empty_picture_is_refused() -> None:
    with pytest.raises(CallerError) as refused:
        from_bytes(b"", "image/png")
    assert refused.value.code == "invalid_image"
