"""An answer is of the requested format, whatever the model would write without it."""

import json
import re
from importlib.util import find_spec
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.request import Format
from tests.engines import suite

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "na\u00efve \u201cname\u201d": {"type": "string", "minLength": 2, "maxLength": 6},
        "colour": {"enum": ["red", "gr\u00fcn \U0001f7e2", None, 1.5, ["x", {"y": True}]]},
        "count": {"type": "integer", "minimum": -5, "maximum": 40},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"},
        "day": {"type": "string", "format": "date"},
        "box": {"type": "array", "prefixItems": [{"type": "boolean"}], "items": False, "minItems": 1},
        "tags": {"type": "array", "items": {"const": "a"}, "minItems": 1, "maxItems": 3},
    },
    "additionalProperties": False,
}
SCHEMA["required"] = list(SCHEMA["properties"])
CHAIN: dict[str, Any] = {
    "$defs": {
        "link": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/link"}, {"enum": [0, 1, 2]}]}},
            "required": ["next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/link",
}
VLLM = pytest.param(
    "vllm",
    marks=[
        pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
        pytest.mark.filterwarnings("ignore"),
        pytest.mark.timeout(600),
    ],
)


def to_json(schema: Any) -> Format:
    return Format(kind="json", content=json.dumps(schema, ensure_ascii=False))


def regex(pattern: str) -> Format:
    return Format(kind="regex", content=pattern)


def choice(*choices: str) -> Format:
    return Format(kind="choice", content=json.dumps(choices, ensure_ascii=False))


NAMES = choice("cat", "catalogue", "chat no\u00efr \U0001f408\u200d\u2b1b", 'a "b"\\\n\t/', "<|end|>", "\x00")


def wild(harness: suite.Harness, seed: int, longest: int = 400) -> dict[str, Any]:
    return {"temperature": min(4.0, harness.hot), "seed": seed, "max_new_tokens": longest}


@pytest.fixture(scope="module", params=["sequential", "continuous", VLLM])
def harness(request: pytest.FixtureRequest) -> suite.Harness:
    if request.param == "vllm":
        started: suite.Harness = request.getfixturevalue("vllm")
        return started
    # It imports an engine that vLLM's transformers may be too old for.
    from tests.engines.continuous.conftest import loaded

    return loaded(engine=request.param, rows=1 if request.param == "sequential" else 4)


@pytest.mark.parametrize("seed", range(2))
def test_an_answer_is_json_of_the_schema(harness: suite.Harness, seed: int) -> None:
    finish, pieces = harness.ask("Describe it.", format=to_json(SCHEMA), **wild(harness, seed))
    assert finish.reason == "stop"
    answer = json.loads(finish.text)
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer)
    assert list(answer) == SCHEMA["required"]
    assert "".join(piece.text for piece in pieces) == finish.text


def test_a_schema_may_refer_to_itself(harness: suite.Harness) -> None:
    """Sampling may never end by itself, and max_new_tokens cuts it off. So hot, it hardly asks the weights.

    vLLM takes no such temperature, and the shipped model then ends its chains at once.
    """
    heat = 20.0 if harness.hot > 2 else harness.hot
    chains = 0
    for seed in range(24):
        hot = wild(harness, seed) | {"temperature": heat}
        finish = harness.ask("Which?", format=to_json(CHAIN), **hot)[0]
        if finish.reason != "stop":
            continue
        answer = json.loads(finish.text)
        Draft202012Validator(CHAIN).validate(answer)
        chains += heat == harness.hot or isinstance(answer["next"], dict)
        if chains and seed >= 5:
            return
    assert chains


def test_any_object_is_json(harness: suite.Harness) -> None:
    finish, _ = harness.ask(harness.question, [suite.picture()], format=to_json({"type": "object"}))
    assert isinstance(json.loads(finish.text), dict)


@pytest.mark.parametrize(
    "pattern",
    [r"\d{2,4}-[a-f]+\.", r"^(ja|nein), \w{3}/[^a-z\s]{2}$", "(?i)x\u00e9{2}\U0001f600?\n", r"(a|b)*c|\\"],
)
def test_an_answer_matches_the_whole_expression(harness: suite.Harness, pattern: str) -> None:
    for seed in range(2):
        finish, _ = harness.ask("Which?", format=regex(pattern), **wild(harness, seed))
        assert finish.reason == "length" or re.fullmatch(pattern, finish.text), finish.text


def test_an_answer_is_one_of_the_choices(harness: suite.Harness) -> None:
    chosen = {harness.ask("Which?", format=NAMES, **wild(harness, seed))[0].text for seed in range(6)}
    assert chosen <= set(json.loads(NAMES.content))
    assert len(chosen) > 1


def test_the_last_token_is_the_end_and_nothing_follows_a_complete_answer(harness: suite.Harness) -> None:
    finish, _ = harness.ask("Which?", format=choice("cat"))
    assert (finish.text, finish.reason) == ("cat", "stop")
    assert finish.ids[-1] == 1


def test_an_answer_cut_off_by_max_tokens_says_so(harness: suite.Harness) -> None:
    finish, _ = harness.ask("Which?", format=to_json(SCHEMA), max_new_tokens=5)
    assert finish.reason == "length"
    assert len(finish.ids) == 5
    with pytest.raises(json.JSONDecodeError):
        json.loads(finish.text)


@pytest.mark.parametrize("wanted", [to_json(SCHEMA), NAMES, regex(r"(\w+ ){5}\.")], ids=lambda f: f.kind)
def test_an_answer_interrupted_anywhere_continues_in_its_format(
    harness: suite.Harness, wanted: Format
) -> None:
    suite._resumes_anywhere(
        harness,
        format=wanted,
        seed=3,
        temperature=min(4.0, harness.hot),
        repetition_penalty=1.2,
        max_new_tokens=9,
    )


def test_a_format_that_ends_before_the_least_answer_is_the_callers_error(harness: suite.Harness) -> None:
    with suite.refused("invalid_request", "min_new_tokens"):
        harness.ask("Which?", format=choice("cat"), min_new_tokens=30)
    finish, _ = harness.ask("Which?", format=regex("(cat )+"), min_new_tokens=30, max_new_tokens=40)
    assert len(finish.ids) >= 30


def test_a_bias_that_bans_what_the_format_needs_is_the_one_to_blame(harness: suite.Harness) -> None:
    needed = harness.ask("Which?", format=choice("cat"))[0].ids[0]
    with suite.refused("invalid_request", "logit_bias"):
        harness.ask("Which?", format=choice("cat"), logit_bias=((needed, -100.0),))


def test_a_format_is_part_of_what_two_workers_must_have_in_common(harness: suite.Harness) -> None:
    with pytest.MonkeyPatch.context() as patch:
        before = harness.engine.fingerprint
        patch.setattr("worker.engines.loading.language.llguidance.__version__", "0")
        # It is computed once for an engine.
        patch.delitem(vars(harness.engine), "fingerprint", raising=False)
        assert harness.engine.fingerprint != before
