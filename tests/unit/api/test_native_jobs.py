import base64
from dataclasses import replace
from typing import Any

import pytest

from api.dialects.native.job_requests import JobCall, from_job, from_query
from api.dialects.native.jobs import to_job, to_problem
from shared.errors import CallerError
from shared.job import Computed, Filter
from shared.request import Image, Message, Parameters, Request, Text
from shared.result import JobError, Origin
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.views import QUEUED, answered, failed, succeeded

PNG = b"\x89PNG\r\n\x1a\n picture"
B64 = base64.b64encode(PNG).decode()
URL = "https://example.org/a.png"
FULL: dict[str, Any] = {
    "model": "org/model",
    "input": {"prompt": "Which?", "images": [URL, B64]},
    "parameters": {
        "max_new_tokens": 5,
        "max_tokens": 5,
        "do_sample": True,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 3,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "seed": 7,
        "stop": "END",
    },
    "metadata": {"shop": "7"},
    "priority": "batch",
    "store": True,
}
SHORT: dict[str, Any] = {"input": {"prompt": "Hi"}}
CHAT: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "image": B64}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "It is"},
    ],
    "continue_final_message": True,
}


def parameters(**said: Any) -> dict[str, Any]:
    return SHORT | {"parameters": said}


def test_job_with_an_input_asks_pictures_first() -> None:
    call = from_job(FULL)
    said = {name: value for name, value in FULL["parameters"].items() if name != "max_tokens"}
    pictures = Image(url=URL, param="input.images[0]"), Image(data=PNG, param="input.images[1]")
    assert call == JobCall(call.request, metadata={"shop": "7"}, priority="batch")
    assert call.request == Request(
        model="org/model",
        messages=(Message(role="user", parts=(*pictures, Text(text="Which?"))),),
        parameters=Parameters(**said | {"stop": ("END",)}),
        named={"messages": "input.prompt"} | {name: f"parameters.{name}" for name in said},
    )


def test_job_with_messages_may_continue_the_last() -> None:
    call = from_job(CHAT)
    assert call.request.continue_final
    assert call.request.images == (Image(data=PNG, param="messages[0].content[0].image"),)
    assert call == JobCall(call.request, metadata={}, priority="normal")


def test_metadata_in_ascii_may_be_as_long_as_openai_takes_them() -> None:
    longest = {f"{i:02}".ljust(64, '"'): "\n" * 512 for i in range(16)}
    assert from_job(SHORT | {"metadata": longest}).metadata == longest


def test_explicit_nulls_are_the_same_as_left_out() -> None:
    nulls = dict.fromkeys((*FULL, *CHAT, "webhook", "finish_by", "schedule_at"))
    assert from_job(nulls | SHORT) == from_job(SHORT)


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (1_900_000_000, 1_900_000_000_000),
        (1_900_000_000.5, 1_900_000_000_500),
        ("2030-03-17T17:46:40Z", 1_900_000_000_000),
        ("2030-03-17T18:46:40+01:00", 1_900_000_000_000),
    ],
)
def test_a_time_may_be_written_as_a_number_or_as_a_date(written: float | str, ms: int) -> None:
    assert from_job(SHORT | {"finish_by": written}).finish_by_ms == ms


@pytest.mark.parametrize(
    "written", ["tomorrow", "2030-03-17T17:46:40", "", -1, 1_900_000_000_000, True, [5], "1900000000"]
)
def test_a_time_that_is_none_is_refused(written: Any) -> None:
    assert refusal(from_job, SHORT | {"finish_by": written}) == ("invalid_request", "finish_by")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request", "messages"),
        (SHORT | CHAT, "invalid_request", "messages"),
        ({"input": {"prompt": "Hi", "image": URL, "images": []}}, "invalid_request", "input.images"),
        ({"input": {"prompt": "Hi", "image": "/etc/passwd"}}, "invalid_image_url", "input.image"),
        ({"input": {"prompt": "Hi", "path": "a.png"}}, "unsupported_parameter", "input.path"),
        (parameters(max_tokens=1, max_new_tokens=2), "invalid_request", "parameters.max_tokens"),
        (parameters(repetition_penalty=1e-30), "invalid_request", "parameters.repetition_penalty"),
        (parameters(best_of=2), "unsupported_parameter", "parameters.best_of"),
        (SHORT | {"temperature": 1}, "unsupported_parameter", "temperature"),
        (SHORT | {"metadata": {"": "x"}}, "invalid_request", "metadata."),
        (SHORT | {"metadata": {"a": "x" * 513}}, "invalid_request", "metadata.a"),
        (SHORT | {"metadata": {str(i): "" for i in range(17)}}, "invalid_request", "metadata"),
        (SHORT | {"continue_final_message": True}, "invalid_request", "continue_final_message"),
    ],
)
def test_wrong_field_is_named(body: Any, code: str, param: str) -> None:
    assert refusal(from_job, body) == (code, param)


@pytest.mark.parametrize(
    ("body", "beside"),
    [(FULL, ["messages", "parameters.max_tokens"]), (CHAT, ["continue_final_message"])],
    ids=["input", "chat"],
)
def test_whatever_is_broken_is_named_and_never_a_server_error(body: Any, beside: list[str]) -> None:
    assert len(refusals(from_job, body, *beside)) > 50


def test_job_object_at_every_status() -> None:
    assert_golden("jobs", [to_job(QUEUED), to_job(succeeded()), to_job(failed())])


def listed(several: list[str] | None = None, **one: str) -> Filter:
    return from_query(one.get, lambda name: several or [] if name == "metadata" else [])


@pytest.mark.parametrize("offset", ["+02:00", " 02:00"])
def test_a_list_from_a_time_with_an_offset_is_found_where_its_plus_was_not_escaped(offset: str) -> None:
    assert listed(created_after=f"2026-01-31T12:00:00{offset}").since == 1_769_853_600_000


def test_a_list_may_name_as_many_pairs_as_a_job_may_have() -> None:
    pairs = [f"k{n}=v" for n in range(16)]
    assert len(listed(pairs).metadata) == 16
    with pytest.raises(CallerError, match="up to 16"):
        listed([*pairs, "k16=v"])


def test_problem_of_an_unknown_code_is_the_services_fault() -> None:
    problem = to_problem(JobError(code="code_of_a_later_release", message="m", retryable=True), "req_1")
    assert (problem["status"], problem["retryable"]) == (500, True)


RUN = Computed("run_1", "job_1", 1_000, 2_000, 2_500, 3_000, 2)
ORIGIN = Origin(made_of={"engine": "echo", "files": "abc"}, parameters={"seed": 7, "max_new_tokens": 5})


def test_a_receipt_tells_what_made_the_answer_when_and_for_how_much() -> None:
    job = to_job(replace(answered(origin=ORIGIN), computed=RUN, request_hash="h"))
    timings = {"queued_at": 1.0, "started_at": 2.0, "first_token_at": 2.5, "ended_at": 3.0, "compute_s": 0.5}
    counts = {"prompt_tokens": 70, "completion_tokens": 5, "image_tokens": 64, "cached_tokens": 66}
    assert job["receipt"] == {
        "request_hash": "h",
        "fingerprint": "0123456789abcdef0123456789abcdef",
        "model": {"id": "org/model", "engine": "echo", "files": "abc"},
        "parameters": {"seed": 7, "max_new_tokens": 5},
        "cache": "MISS",
        "run": {"id": "run_1", "job": "job_1"},
        "attempts": 2,
        "timings": timings,
        "usage": counts | {"total_tokens": 75},
    }


def test_an_answer_that_an_older_worker_gave_has_a_receipt_too_and_a_failure_none() -> None:
    receipt = to_job(succeeded(computed=Computed("run_1")))["receipt"]

    assert (receipt["model"], receipt["parameters"]) == ({"id": "org/model"}, {})
    assert receipt["timings"]["first_token_at"] is None
    assert "receipt" not in to_job(failed())
