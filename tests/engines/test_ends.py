"""Some models end their answers with a token that has a text: a tilde here."""

import json
import re
from typing import Any

import pytest

from shared.models import Model
from shared.request import Format
from tests.engines import suite
from tests.support.families import NAMED
from tests.support.families.tokens import USER, byte_tokenizer, token_id
from worker.engines.registry import create

TILDE = 96
FORMATS = {
    "choice": Format(kind="choice", content='["cat","dog"]'),
    "regex": Format(kind="regex", content="[a-z~]{3}|cat"),
    "json": Format(kind="json", content='{"type":"object"}'),
}
# Where the dice may they end.
EAGER: dict[str, Any] = {"temperature": 1.5, "logit_bias": ((TILDE, 6.0),), "max_new_tokens": 100}


@pytest.fixture(scope="module", params=[("sequential", 1), ("continuous", 4)], ids=lambda param: param[0])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> suite.Harness:
    name, rows = request.param
    source = str(NAMED["llava"].folder(tmp_path_factory.getbasetemp()))
    engine = create(Model(id="tiny/llava", source=source, engine=name, rows=rows, max_new_tokens=300)).load()
    return suite.Harness(engine)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_answer_that_ended_is_of_its_format_to_the_letter(harness: suite.Harness, kind: str) -> None:
    wanted, ended = FORMATS[kind], 0
    for seed in range(4):
        finish, pieces = harness.ask("Which?", format=wanted, seed=seed, **EAGER)
        assert "".join(piece.text for piece in pieces) == finish.text
        if finish.reason == "length":
            continue
        ended += 1
        if kind == "json":
            assert isinstance(json.loads(finish.text), dict)
        else:
            assert re.fullmatch("cat|dog" if kind == "choice" else "[a-z]{3}", finish.text)
    assert ended


def test_the_marks_of_a_page_are_in_its_text_where_a_caller_parses_them(harness: suite.Harness) -> None:
    mark = token_id(byte_tokenizer(), USER)
    asked: dict[str, Any] = {"logit_bias": ((mark, 100.0),), "max_new_tokens": 40, "temperature": 0}
    assert harness.ask("Which?", **asked)[0].text == ""
    finish, pieces = harness.ask("Which?", **asked, skip_special_tokens=False)
    assert finish.text == "".join(piece.text for piece in pieces) == 40 * USER
    named, _ = harness.ask("Which?", **asked, skip_special_tokens=False, logprobs=0)
    assert {(likely.chosen.token, likely.chosen.bytes) for likely in named.logprobs or ()} == {(USER, None)}


def test_a_text_that_only_the_end_can_spell_is_refused_and_not_cut_short(harness: suite.Harness) -> None:
    with suite.refused("invalid_request", "format", match="no token that goes on"):
        harness.ask("Which?", format=Format(kind="choice", content='["a~b"]'))


def test_the_end_is_a_text_where_it_ends_nothing(harness: suite.Harness) -> None:
    asked = {**EAGER, "seed": 1, "max_new_tokens": 40, "logprobs": 0}
    finish, _ = harness.ask("Which?", **asked)
    assert (finish.ids[-1], finish.reason) == (TILDE, "stop")
    assert "~" not in finish.text
    assert len(finish.logprobs or ()) == len(finish.ids) - 1
    longer, _ = harness.ask("Which?", **asked, ignore_eos=True)
    assert longer.text.startswith(f"{finish.text}~")
    assert (len(longer.ids), longer.reason) == (40, "length")
