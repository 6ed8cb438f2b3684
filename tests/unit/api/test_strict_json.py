import io
from typing import Any, Literal

import pytest
from PIL import Image
from pydantic import Field

from api.dialects.strict_json import MAX_DEPTH, MAX_ELEMENTS, Wire, is_form, parse, read
from shared.errors import CallerError
from tests.support.refusal import refusal


class Inner(Wire):
    url: str


class Outer(Wire):
    number: float | None = None
    words: str | list[str] | None = None
    inner: str | Inner | None = None
    items: list[Inner] | None = None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"nothing", b'{"inputs": No input example}', b'{"a": NaN}', b'{"a": -Infinity}'),
        *(b'{"a": 1e999}', b'{"a": [-1e999]}', b'{"a": ' + b"1" * 400 + b".0}", b'"\\ud800"'),
        *(b'"\xed\xa0\x80"', b'{"a": "\xff"}', b"\xff\xfe{\x00}\x00", b"1 2", b"9" * 5000),
        *(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b"[" * 19_000 + b"]" * 19_000, b'{"a":' * 19_000),
    ],
)
def test_body_that_is_not_strict_json_is_the_callers_error(body: bytes) -> None:
    with pytest.raises(CallerError) as refused:
        parse(body)
    assert refused.value.code == "invalid_json"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": {"b": 1}, "\\u0061": 2}', {"a": 2}),
        (b'{"a": "\\u0000 \\ud83d\\ude00"}', {"a": "\x00 \U0001f600"}),
        (rb'{"text": "' + rb"a,[{\"\\" * MAX_ELEMENTS + b'"}', {"text": 'a,[{"\\' * MAX_ELEMENTS}),
    ],
    ids=["the last of two names", "NUL and emoji", "commas and brackets"],
)
def test_what_is_odd_and_allowed_is_read(body: bytes, value: Any) -> None:
    assert parse(body) == value
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize("value", [b"{}", b"0", b'""', b'"\\\\"', b'{"a":1}'])
def test_a_flood_of_values_is_refused_before_it_is_parsed(value: bytes) -> None:
    with pytest.raises(CallerError) as refused:
        parse(b"[" + (value + b",") * MAX_ELEMENTS + value + b"]")
    assert refused.value.code == "payload_too_large"


@pytest.mark.parametrize("escapes", [r"\\", r"\"", r"\\\"", r"\\\\"])
def test_escapes_do_not_hide_where_a_string_ends(escapes: str) -> None:
    texts = [escapes + "," * 60_000, "," * 60_000 + escapes]
    body = "[" + ",".join(f'"{text}"' for text in texts) + "]"
    assert [len(text) for text in parse(body.encode())] == [60_000 + len(escapes) // 2] * 2


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        ([], "invalid_request", None),
        (5, "invalid_request", None),
        ({"unknown": 1}, "unknown_field", "unknown"),
        ({"number": "1"}, "invalid_request", "number"),
        ({"number": True}, "invalid_request", "number"),
        ({"number": 10**400}, "invalid_request", "number"),
        ({"words": 5}, "invalid_request", "words"),
        ({"words": ["a", 5]}, "invalid_request", "words[1]"),
        ({"inner": 5}, "invalid_request", "inner"),
        ({"inner": {}}, "invalid_request", "inner.url"),
        ({"inner": {"url": 5}}, "invalid_request", "inner.url"),
        ({"inner": {"url": "u", "more": 1}}, "unknown_field", "inner.more"),
        ({"items": {}}, "invalid_request", "items"),
        ({"items": [{"url": "u"}, {}]}, "invalid_request", "items[1].url"),
        ({"items": [5]}, "invalid_request", "items[0]"),
    ],
)
def test_error_names_the_field_without_union_tags(value: Any, code: str, param: str | None) -> None:
    assert refusal(read, Outer, value) == (code, param)
    assert refusal(read, Inner, {"url": 1}, "content[1]") == ("invalid_request", "content[1].url")


@pytest.mark.parametrize("value", [{"x" * 100_000: 1}, {"number": "SECRET" * 1000}], ids=["name", "value"])
def test_a_huge_name_is_cut_in_the_error_and_a_value_never_repeated(value: Any) -> None:
    with pytest.raises(CallerError) as refused:
        read(Outer, value)
    assert max(len(refused.value.param or ""), len(refused.value.message)) <= 300
    assert "SECRET" not in refused.value.message


@pytest.mark.parametrize("width", range(1, 2000, 60))
def test_a_picture_is_no_form_whatever_its_size(width: int) -> None:
    """One of 61 pixels begins with `GIF89a=`."""
    found = io.BytesIO()
    Image.new("P", (width, 3)).save(found, "GIF")
    assert not is_form(found.getvalue())


def test_a_quote_never_closed_does_not_hide_or_stall() -> None:
    assert refusal(parse, b'"' + b',\\"' * (MAX_ELEMENTS + 1) + b"\\") == ("invalid_json", None)


class Listed(Wire):
    words: list[Literal[*(f"word_{number:03}" for number in range(99))]] | None = None  # type: ignore[valid-type]
    urls: list[str] | None = Field(None, min_length=1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"urls": []}', r"`urls` should not be empty\."),
        (b'{"words": ["x"]}', r"`words\[0\]` should be 'word_000', .*…\."),
    ],
)
def test_what_a_field_may_hold_is_told_in_a_caller_s_words_and_visibly_cut(body: bytes, told: str) -> None:
    with pytest.raises(CallerError, match=told):
        read(Listed, parse(body))
