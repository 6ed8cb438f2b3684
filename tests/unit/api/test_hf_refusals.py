"""Hugging Face bodies that are wrong: which field, never the value, never a server error."""

import json
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_bytes, from_hf
from shared.errors import CallerError
from tests.support.hf import B64, FULL, TURNS, URL
from tests.support.mutations import refusals
from tests.support.refusal import refusal


@pytest.mark.parametrize("images", [[], [URL], [URL, URL, URL]])
def test_picture_and_slot_counts_that_differ_are_refused(images: list[str]) -> None:
    body = {"inputs": {"text": TURNS, "images": images}}
    assert refusal(from_hf, body) == ("image_count_mismatch", "inputs.images")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "inputs"),
        ({"inputs": {}, "question": "?"}, "inputs"),
        ({"question": "?"}, "inputs"),
        ({"inputs": ["Hi"]}, "inputs[0]"),
        ({"inputs": {"text": ["Hi"]}}, "inputs.text[0]"),
        ({"inputs": {"text": "Hi", "question": "Hi"}}, "inputs.question"),
        ({"inputs": {"text": "Hi", "image": URL, "images": [URL]}}, "inputs.images"),
        ({"inputs": {"question": "Hi"}}, "inputs.image"),
        ({"inputs": B64, "image": B64}, "question"),
        ({"inputs": B64, "image": URL, "question": "?"}, "image"),
        ({"image": B64}, "question"),
    ],
)
def test_wrong_field_is_named(body: Any, param: str) -> None:
    assert refusal(from_hf, body) == ("invalid_request", param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"inputs": {"image": "/etc/passwd", "text": "Hi"}}, "inputs.image"),
        ({"inputs": {"images": [URL, "file:///x"], "text": "Hi"}}, "inputs.images[1]"),
        ({"image": "/etc/passwd", "question": "?"}, "image"),
        ({"inputs": "![](/etc/passwd)"}, "inputs"),
        ({"inputs": "data:image/svg+xml," + "%3Csvg%3E" + "a" * 2**20}, "inputs"),
        ({"inputs": "\nDATA:image/png,%89PNG"}, "inputs"),
        ({"inputs": f"data:image/png;name=a,b.png;base64,{B64}"}, "inputs"),
    ],
)
def test_what_is_no_picture_is_named(body: Any, param: str) -> None:
    assert refusal(from_hf, body) == ("invalid_image_url", param)


ASKED = {"question": "?", "image": URL}


@pytest.mark.parametrize(
    ("inputs", "said", "code", "at"),
    [
        ("Hi", {"max_new_tokens": 0}, "invalid_request", "max_new_tokens"),
        ("Hi", {"stop": ["a"], "stop_sequences": ["b"]}, "invalid_request", "stop_sequences"),
        ("Hi", {"generate_kwargs": {"top_p": 2}}, "invalid_request", "generate_kwargs.top_p"),
        ("Hi", {"seed": 1, "generate_kwargs": {"seed": 2}}, "invalid_request", "generate_kwargs.seed"),
        (ASKED, {"top_k": 0}, "invalid_request", "top_k"),
        ("Hi", {"typical": 0.5}, "unsupported_parameter", "typical"),
        (B64, {"details": True}, "unsupported_parameter", "details"),
        ("Hi", {"details": True, "num_return_sequences": 2}, "unsupported_parameter", "num_return_sequences"),
        ("Hi", {"generate_kwargs": {"details": True}}, "unsupported_parameter", "generate_kwargs.details"),
        ("Hi", {"generate_kwargs": {"num_beams": 2}}, "unsupported_parameter", "generate_kwargs.num_beams"),
    ],
)
def test_wrong_parameter_is_named(inputs: Any, said: dict[str, Any], code: str, at: str) -> None:
    assert refusal(from_hf, {"inputs": inputs, "parameters": said}) == (code, f"parameters.{at}")
    assert refusal(from_hf, {"inputs": "Hi", "temperature": 1}) == ("unsupported_parameter", "temperature")


@pytest.mark.parametrize(
    ("body", "beside"),
    [
        (FULL, ["inputs.images", "parameters.generate_kwargs.max_new_tokens", "parameters.stop_sequences"]),
        ({"inputs": {"image": B64, "question": "?"}, "parameters": {"top_k": 1}}, ["inputs.image"]),
        ({"inputs": B64, "question": "?", "image": B64}, ["inputs", "image", "question"]),
        ({"inputs": f"a ![]({URL}) b"}, []),
        ({"inputs": TURNS[1:]}, []),
    ],
)
def test_whatever_is_broken_is_named_and_never_a_server_error(body: Any, beside: list[str]) -> None:
    assert len(refusals(from_hf, body, *beside)) > 20


def test_labels_of_a_picture_are_refused_and_not_answered_with_a_caption() -> None:
    """What `image_classification(picture, top_k=3)` sends; its answers had no label and no score."""
    with pytest.raises(CallerError, match="not classified here") as refused:
        from_hf({"inputs": B64, "parameters": {"top_k": 3, "top_p": None}})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "parameters.top_k")


@pytest.mark.parametrize(
    "parameters",
    [{"top_k": 3, "do_sample": True}, {"top_k": 3, "seed": 1}, {"generate_kwargs": {"top_k": 3}}],
)
def test_a_caption_is_drawn_from_so_many_tokens(parameters: dict[str, Any]) -> None:
    assert from_hf({"inputs": B64, "parameters": parameters}).request.parameters.top_k == 3


def test_picture_data_never_stands_in_an_error() -> None:
    secret = "QUJD" * 1000
    for body in ({"inputs": {"image": secret + "!", "text": "?"}}, {"inputs": {"images": [secret, 5]}}):
        with pytest.raises(CallerError) as refused:
            from_bytes(json.dumps(body).encode(), None)
        assert "QUJD" not in refused.value.message
