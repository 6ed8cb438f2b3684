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
    with pytest.raises(CallerError) as refused:
        from_hf({"inputs": {"text": TURNS, "images": images}})
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
        ({"inputs": {"text": "Hi", "question": "Hi"}}, "invalid_request", "inputs.question"),
        ({"inputs": {"text": "Hi", "image": URL, "images": [URL]}}, "invalid_request", "inputs.images"),
        ({"inputs": {"question": "Hi"}}, "invalid_request", "inputs.image"),
        ({"inputs": {"text": ["Hi"]}}, "invalid_request", "inputs.text[0]"),
        ({"inputs": {"image": "/etc/passwd", "text": "Hi"}}, "invalid_image_url", "inputs.image"),
        ({"inputs": {"images": [URL, "file:///x"], "text": "Hi"}}, "invalid_image_url", "inputs.images[1]"),
        ({"inputs": "![](/etc/passwd)"}, "invalid_image_url", "inputs"),
        ({"inputs": "data:image/svg+xml," + "%3Csvg%3E" + "a" * 2**20}, "invalid_image_url", "inputs"),
        ({"inputs": "\nDATA:image/png,%89PNG"}, "invalid_image_url", "inputs"),
        ({"inputs": f"data:image/png;base64 ,{B64}"}, "invalid_image_url", "inputs"),
        ({"inputs": f"data:image/png;name=a,b.png;base64,{B64}"}, "invalid_image_url", "inputs"),
        ({"inputs": B64, "image": B64}, "invalid_request", "question"),
        ({"inputs": B64, "image": URL, "question": "?"}, "invalid_request", "image"),
        ({"inputs": {}, "question": "?"}, "invalid_request", "inputs"),
        ({"question": "?"}, "invalid_request", "inputs"),
        ({"image": B64}, "invalid_request", "question"),
        ({"image": "/etc/passwd", "question": "?"}, "invalid_image_url", "image"),
        ({"inputs": "Hi", "parameters": []}, "invalid_request", "parameters"),
        ({"inputs": "Hi", "parameters": {"typical": 0.5}}, "unsupported_parameter", "parameters.typical"),
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
        ({"inputs": "Hi", "parameters": {"min_length": 5}}, "unsupported_parameter", "parameters.min_length"),
        ({"inputs": "Hi", "temperature": 0.5}, "unsupported_parameter", "temperature"),
        ({"inputs": "Hi", "parameters": {"num_beams": 4}}, "unsupported_parameter", "parameters.num_beams"),
        ({"inputs": B64, "parameters": {"details": True}}, "unsupported_parameter", "parameters.details"),
        (
            {"inputs": "Hi", "parameters": {"details": True, "num_return_sequences": 2}},
            "unsupported_parameter",
            "parameters.num_return_sequences",
        ),
        (
            {"inputs": "Hi", "parameters": {"generate_kwargs": {"details": True}}},
            "unsupported_parameter",
            "parameters.generate_kwargs.details",
        ),
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
    ],
)
def test_wrong_field_is_named(body: Any, code: str, param: str | None) -> None:
    assert refusal(from_hf, body) == (code, param)


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
    found = refusals(lambda broken: from_hf(broken), body)
    assert len(found) > 20
    assert all(len(error.param or "") <= 200 and len(error.message) <= 500 for error in found)


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
