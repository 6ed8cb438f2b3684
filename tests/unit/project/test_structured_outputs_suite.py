"""vLLM's word for a format asks for one, and for nothing that answers are not held to."""

from typing import Any

import pytest

from shared.errors import CallerError
from tests.unit.api.test_formats import JSON, SCHEMA, chat, job


@pytest.mark.parametrize("wanted", [{}, {"json": SCHEMA, "regex": "a"}, {"json_object": False}])
def test_structured_outputs_name_one_format(wanted: Any) -> None:
    with pytest.raises(CallerError) as refused:
        chat(structured_outputs=wanted)
    assert refused.value.param == "structured_outputs"


def test_a_grammar_beside_another_format_is_refused_at_every_door() -> None:
    both = {"regex": "[a-z]+", "grammar": "root ::= x"}
    for door in (chat, job):
        with pytest.raises(CallerError) as refused:
            door(structured_outputs=both)
        assert (refused.value.param or "").endswith("structured_outputs.grammar")


def test_vllm_s_own_object_dumped_whole_is_the_format_it_names() -> None:
    whole = {"json": SCHEMA, "regex": None, "grammar": None, "disable_any_whitespace": False}
    assert chat(structured_outputs=whole).parameters.format == JSON
