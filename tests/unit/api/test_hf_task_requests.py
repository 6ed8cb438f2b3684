import base64
import re
from typing import Any

import pytest

from api.dialects.hf.task_requests import HfCall, from_bytes, from_hf
from api.dialects.messages import CAPTION
from shared.request import Image, Message, Parameters, Request, Sound, Text
from tests.support import pictures as make
from tests.support.hf import B64, FULL, PNG, URL
from tests.support.refusal import refusal
from tests.support.sounds import sound

DRAWN: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.5, "top_p": 0.5, "top_k": 3, "typical_p": 1.0}
DRAWN |= {"do_sample": True, "seed": 7, "stop": ("END",), "repetition_penalty": 1.1, "frequency_penalty": 0.1}
WHAT, DESCRIBE = Text(text="What?"), Text(text=CAPTION)
DATA_URI = f"data:image/png;base64,{B64}"


def asked(*parts: Text | Image) -> tuple[Message, ...]:
    return (Message(role="user", parts=parts),)


def at(param: str) -> Image:
    return Image(url=URL, param=param)


def sent(param: str) -> Image:
    return Image(data=PNG, param=param)


def test_messages_with_pictures_beside_them_fill_their_slots_and_continue() -> None:
    question = asked(at("inputs.images[0]"), Text(text="A?"), sent("inputs.images[1]"))
    assert from_hf(FULL) == HfCall(
        request=Request(
            model="",
            messages=(*question, Message(role="assistant", parts=(Text(text="It is"),))),
            parameters=Parameters(**DRAWN),
            continue_final=True,
            named={"messages": "inputs"} | {name: f"parameters.{name}" for name in DRAWN},
        ),
        task="image-text-to-text",
        stream=True,
        return_full_text=True,
        use_cache=False,
        wait_for_model=True,
    )


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        ("Hi", [Text(text="Hi")]),
        ("Qk0 data: a", [Text(text="Qk0 data: a")]),
        ("https://example.org/about", [Text(text="https://example.org/about")]),
        (f"![]({URL})What?", [at("inputs"), WHAT]),
        ({"image": URL, "text": "What?"}, [at("inputs.image"), WHAT]),
        ({"image": B64}, [sent("inputs.image"), DESCRIBE]),
        ({"text": "What?"}, [WHAT]),
        ({"images": [URL, B64], "text": "What?"}, [at("inputs.images[0]"), sent("inputs.images[1]"), WHAT]),
        ({"images": URL, "text": "What?"}, [at("inputs.images"), WHAT]),
        (
            [{"role": "user", "content": [{"type": "image", "image": B64}]}],
            [sent("inputs[0].content[0].image"), DESCRIBE],
        ),
    ],
)
def test_every_form_of_a_text_about_pictures_is_read(inputs: Any, parts: list[Text | Image]) -> None:
    call = from_hf({"inputs": inputs})
    assert call.task == "image-text-to-text"
    assert call.request == Request(model="", messages=asked(*parts), named={"messages": "inputs"})


@pytest.mark.parametrize(
    ("body", "task", "picture"),
    [
        ({"inputs": B64}, "image-to-text", sent("inputs")),
        ({"inputs": DATA_URI, "parameters": {"max_new_tokens": None}}, "image-to-text", sent("inputs")),
        ({"inputs": f" {URL}?w=640"}, "image-to-text", Image(url=f"{URL}?w=640", param="inputs")),
        ({"inputs": {"question": "What?", "image": B64}}, "visual-question-answering", sent("inputs.image")),
        (
            {"inputs": B64, "parameters": {"top_k": 2}, "question": "What?", "image": B64},
            "visual-question-answering",
            sent("inputs"),
        ),
        ({"question": "What?", "image": B64}, "visual-question-answering", sent("image")),
    ],
)
def test_every_form_of_a_caption_and_of_a_question_is_read(body: Any, task: str, picture: Image) -> None:
    call = from_hf(body)
    words = DESCRIBE if task == "image-to-text" else WHAT
    named = {"messages": "question" if "question" in body else "inputs"}
    assert (call.task, call.request) == (task, Request(model="", messages=asked(picture, words), named=named))


FILES = {
    "PNG": PNG,
    "JPEG": make.picture("JPEG"),
    "BMP": make.picture("BMP"),
    "TIFF": make.picture("TIFF"),
    "TIFF, big-endian": b"MM\0*\0\0\0\x08",
    "AVIF": b"\0\0\0\x1cftypavif",
    "HEIC": b"\0\0\0\x28ftypheic\0\0\0\0",
}


OCTETS = "data:application/octet-stream;base64,"


@pytest.mark.parametrize(
    "lead",
    [
        *("", "\n", "data:image/png;base64,", OCTETS, "data:;base64,"),
        *("data:application/octet-stream; base64, ", OCTETS + "data:image/png;base64,", OCTETS * 2),
    ],
)
@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_a_picture_is_never_asked_about_as_a_wall_of_letters(data: bytes, lead: str) -> None:
    call = from_hf({"inputs": lead + base64.urlsafe_b64encode(data).decode()})
    assert call.request.messages == asked(Image(data=data, param="inputs"), Text(text=CAPTION))


@pytest.mark.parametrize("unit", [".png?", ".png", "?", "http://a.png"])
def test_a_text_that_nearly_is_a_picture_s_address_is_read_in_linear_time(unit: str) -> None:
    text = "http://a" + unit * 200_000 + " x"
    assert from_hf({"inputs": text}).request.messages == asked(Text(text=text))


@pytest.mark.parametrize("head", ["data:audio/wav; base64, ", OCTETS * 2, "DATA:audio/wav;codecs=1;BASE64,"])
def test_a_sound_s_data_uri_is_not_asked_about_as_letters(head: str) -> None:
    data = sound(seconds=0.1)
    folded = "\r\n  ".join(re.findall(".{1,76}", base64.b64encode(data).decode()))
    call = from_hf({"inputs": head + folded})
    assert call.request.messages[0].parts[0] == Sound(data=data, param="inputs")


@pytest.mark.parametrize("text", ["data:" + ";base64" * 10**5, OCTETS * 10**5 + "!", "data:" + "; " * 10**5])
def test_a_text_that_nearly_is_a_data_uri_is_read_in_linear_time(text: str) -> None:
    assert from_hf({"inputs": text}).request.messages == asked(Text(text=text))


@pytest.mark.parametrize("words", [" is base64. Decode it.", "\nDecode it", "=\nDecode", ", decoded?"])
def test_a_prompt_about_a_file_s_data_uri_is_not_taken_for_a_picture(words: str) -> None:
    prompt = f"data:text/csv;base64,YSxiCjEsMg={words}"
    assert from_hf({"inputs": prompt}).request.messages == asked(Text(text=prompt))


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


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", None, "invalid_json"),
        (b"", "application/json", "invalid_json"),
        (PNG, "application/json", "invalid_json"),
        (b"{", None, "invalid_json"),
        (b"", "image/png", "invalid_image"),
    ],
)
def test_body_that_is_neither_is_refused(body: bytes, content_type: str | None, code: str) -> None:
    assert refusal(from_bytes, body, content_type)[0] == code
