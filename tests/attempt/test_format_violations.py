"""A complete answer that breaks its schema fails its job, and one that was cut off does not."""

import json

import pytest

from shared.request import Format, Function, Request, Tools
from shared.result import Choice, Result, Usage
from tests.support.attempt_harness import MODEL, WorkerHarness
from tests.support.existing import existing
from tests.support.metrics import counted
from worker import candidates
from worker.engines.echo import EchoEngine

ATTEMPTS = "sightline_attempts_total"
# llguidance writes 0, which the schema excludes.
SCHEMA = Format(kind="json", content='{"type":"number","exclusiveMinimum":0,"maximum":0.5}')


class HeedlessEngine(EchoEngine):
    """Takes a format, and answers with the question all the same."""

    def grammar(self, request: Request, caller: str = "") -> None:
        pass


@pytest.fixture
def engine() -> HeedlessEngine:
    return HeedlessEngine(MODEL)


def test_an_answer_that_breaks_its_schema_fails_its_job_and_is_counted(
    harness: WorkerHarness, engine: HeedlessEngine
) -> None:
    before = counted(ATTEMPTS, model=MODEL.id, outcome="format_violated")
    job = harness.ask("0", format=SCHEMA)
    harness.attempt(engine)
    view = harness.job(job)
    assert view.error is not None
    assert (view.status, view.error.code, view.error.retryable) == ("failed", "format_violated", True)
    assert view.error.message == "The answer breaks its schema's `exclusiveMinimum` at $."
    assert counted(ATTEMPTS, model=MODEL.id, outcome="format_violated") == before + 1


def test_a_pattern_without_a_grammar_is_the_callers_mistake(
    harness: WorkerHarness, engine: HeedlessEngine
) -> None:
    job = harness.ask('"b"', format=Format(kind="json", content='{"type":"string","pattern":"^(?=a)b$"}'))
    harness.attempt(engine)
    error = existing(harness.job(job).error)
    assert (error.code, error.param, error.retryable) == ("invalid_request", "format", False)
    assert "`pattern`" in error.message
    assert "without look-arounds" in error.message


def test_an_answer_that_matches_its_schema_is_given(harness: WorkerHarness, engine: HeedlessEngine) -> None:
    job = harness.ask("0.25", format=SCHEMA)
    harness.attempt(engine)
    assert harness.job(job).status == "succeeded"
    assert harness.text(job) == "0.25"


@pytest.mark.parametrize("limit", [{"max_new_tokens": 1}, {"stop": ("}",)}])
def test_an_answer_that_was_cut_off_is_not_checked(
    harness: WorkerHarness, engine: HeedlessEngine, limit: dict[str, object]
) -> None:
    job = harness.ask('{"a": 0}', format=SCHEMA, **limit)
    harness.attempt(engine)
    assert harness.job(job).status == "succeeded"


def request(text: str, *, held: str | None, form: Format | None = None) -> tuple[Request, Result]:
    """A request for a function `f` or an answer, and a result of this text."""
    tools = Tools(functions=(Function(name="f", parameters="{}", strict_schema=held),))
    question = Request.model_validate(
        {
            "model": MODEL.id,
            "messages": [{"role": "user", "parts": [{"type": "text", "text": "?"}]}],
            "tools": tools,
            "parameters": {"format": form},
        }
    )
    usage = Usage(prompt_tokens=1, completion_tokens=1)
    choices = (Choice(text=text, finish_reason="stop"),)
    return question, Result(choices=choices, usage=usage, fingerprint="", compute_s=0, syntax="hermes")


def called(arguments: object) -> str:
    return f'<tool_call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "held", "message"),
    [
        (called({"a": 0}), True, "A call of f breaks its schema's `exclusiveMinimum` at $.a."),
        (
            called({"a": 0.25}) + called({"a": 0}),
            True,
            "A call of f breaks its schema's `exclusiveMinimum` at $.a.",
        ),
        (called({"a": 0.25}), True, None),
        (called({"a": 0}), False, None),
        ("In words.", True, None),
    ],
)
def test_a_call_s_arguments_must_match_a_strict_function(text: str, held: bool, message: str | None) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": json.loads(SCHEMA.content)}})
    error = candidates.format_error(*request(text, held=schema if held else None))
    assert (error and error.message) == message


def test_an_answer_in_place_of_a_call_must_match_its_own_schema() -> None:
    assert candidates.format_error(*request(called({}), held=None, form=SCHEMA)) is None
    error = existing(candidates.format_error(*request("0", held=None, form=SCHEMA)))
    assert error.code == "format_violated"
