"""What zod writes of its string checks, beside formats and without, is held whole."""

import json

import pytest

from api.dialects.formats import to_schema
from api.dialects.json_patterns import KNOWN
from tests.engines.test_bounds import taken

DURATION, EMAIL = KNOWN
HOSTNAME = (
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$"
)
EMOJI = (
    r"^(?=[\s\S]*[\p{Extended_Pictographic}\p{Regional_Indicator}\u20E3])"
    r"[\p{Extended_Pictographic}\p{Emoji_Component}]+$"
)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"format": "duration", "pattern": DURATION}, ["P1D", "PT4M", "P1W"], ["P", "PT", "P1W1D"]),
        ({"format": "hostname", "pattern": HOSTNAME}, ["a.b", "a" * 63], ["a-", ".".join(["a" * 63] * 4)]),
        ({"format": "email", "pattern": EMAIL}, ["a.b@c.de"], ["a@b", "a@[1.2.3.4]", ".a@b.de"]),
        ({"format": "emoji", "pattern": EMOJI}, ["😀"], ["1", "a"]),
        ({"format": "starts_with", "pattern": "^SKU-.*"}, ["SKU-1"], ["SK"]),
        ({"format": "ends_with", "allOf": [{"pattern": "^a.*"}, {"pattern": ".*b$"}]}, ["ab"], ["a", "b"]),
        ({"pattern": r"^(?=.*[A-Z])(?=.*\d)[^ ]{3,}$"}, ["aA1"], ["aa1", "AAA", "A1"]),
    ],
)
def test_an_answer_is_what_a_string_check_takes(
    check: dict[str, object], right: list[str], wrong: list[str]
) -> None:
    schema = json.loads(to_schema({"type": "string", **check}, "schema"))
    texts = {text: json.dumps(text, ensure_ascii=False) for text in (*right, *wrong)}
    assert taken(schema, tuple(texts.values())) == {texts[text] for text in right}
