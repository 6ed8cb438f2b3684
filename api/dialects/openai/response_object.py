"""Writes a job as OpenAI's response object; the response of `job_…` is named `resp_…`."""

import json
from dataclasses import dataclass
from typing import Any

from api.dialects.calls import Words, apart, call_id
from api.dialects.logprobs import to_content
from api.dialects.openai.chat import heard
from api.dialects.openai.errors import to_error
from api.dialects.sampling import TIERS
from shared.job import JobView
from shared.request import Detail, Format, Frozen, Function, Request, Text
from shared.result import Result, Usage
from shared.tool_calls.call import Called

ALIKE: dict[str, Any] = {
    "reasoning": {"effort": None, "summary": None},
    "truncation": "disabled",
}
"""Fields that are the same in every response, because nothing else is served.

A conversation that is too long is refused, even where the caller allows earlier turns to be dropped.
"""
UNSAID = 1.0
"""OpenAI's `temperature` and `top_p` where the caller named none: strict clients need a number."""


class Outline(Frozen, extra="ignore"):
    """What a response shows of its call beyond what its request and its job hold.

    Kept with the job; fields of a newer release are ignored. `instructed` says that the request's first
    message is the instructions, `previous` is the response that it goes on from, `format` is `text.format`
    without its schema, `parallel` is `parallel_tool_calls`. `max_tool_calls` limits calls of OpenAI's own
    tools, of which there are none. `unshown` are the functions, as the response shows them, that a
    `tool_choice` of none hides from the model; None for any other choice. `details` are those of all pictures
    of the conversation in reading order, empty where all are auto.
    """

    background: bool = False
    instructed: bool = False
    previous: str | None = None
    format: dict[str, Any] | None = None
    parallel: bool = True
    max_tool_calls: int | None = None
    unshown: list[dict[str, Any]] | None = None
    details: tuple[Detail, ...] = ()
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


@dataclass(frozen=True)
class Kept:
    """A response as the records hold it."""

    view: JobView
    question: Request
    outline: Outline


def detailed(outline: Outline, question: Request) -> Outline:
    """Add what a response shows of its request but the record, shared by all identical requests, lacks."""
    details = tuple(picture.detail for picture in question.images)
    unshown = None if question.unshown is None else [_function(f) for f in question.unshown]
    kept = {"details": details if set(details) - {"auto"} else (), "unshown": unshown}
    return outline.model_copy(update=kept)


def response_id(job: str) -> str:
    return f"resp_{job.removeprefix('job_')}"


def job_of(response: str) -> str:
    """The id of a response's job; empty where this is no response's id."""
    return f"job_{response.removeprefix('resp_')}" if response.startswith("resp_") else ""


def message_id(job: str, number: int = 0) -> str:
    """The id of the answer's message `number`; `_o` tells it from input items, which end in a bare number."""
    return f"msg_{job.removeprefix('job_')}" + (f"_o{number}" if number else "")


def to_response(kept: Kept) -> dict[str, Any]:
    """The response object, at any moment of its life."""
    view, result = kept.view, kept.view.result
    status = status_of(view)
    return {
        "id": response_id(view.id),
        "object": "response",
        "created_at": view.created_ms // 1000,
        "status": status,
        "completed_at": (view.ended_ms or 0) // 1000 if status == "completed" else None,
        "error": None if view.error is None else to_error(view.error)["error"],
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": view.model,
        "output": [] if result is None else to_output(view.id, result),
        "usage": None if result is None else _usage(result.usage),
        **_asked(kept),
        **ALIKE,
    }


def status_of(view: JobView) -> str:
    if view.status == "succeeded" and view.result is not None:
        return "completed" if view.result.choices[0].finish_reason == "stop" else "incomplete"
    named = {"running": "in_progress", "succeeded": "completed"}
    return named.get(view.status, view.status)


def to_deleted(response: str) -> dict[str, Any]:
    return {"id": response, "object": "response", "deleted": True}


def to_output(job: str, result: Result) -> list[dict[str, Any]]:
    """The items of a response that has ended with an answer: its messages and calls, in order.

    A call ends a message, so words after it are another one; only the last item may be incomplete.
    """
    choice = result.choices[0]
    heard = apart(choice.text, result.syntax, choice.logprobs or ())
    items: list[dict[str, Any]] = []
    calls = 0
    for place, piece in enumerate(heard):
        if isinstance(piece, Words):
            ended = place < len(heard) - 1 or choice.finish_reason == "stop"
            status = "completed" if ended else "incomplete"
            items.append(message(job, place - calls, status, [part(piece)]))
        else:
            items.append(function_call(job, calls, piece))
            calls += 1
    return items


def function_call(job: str, number: int, called: Called, status: str = "completed") -> dict[str, Any]:
    """The item of a call; while it is in progress its arguments come in events of their own."""
    return {
        "id": f"fc_{job.removeprefix('job_')}_{number}",
        "type": "function_call",
        "status": status,
        "call_id": call_id(job, 0, number),
        "name": called.name,
        "arguments": called.arguments if status == "completed" else "",
    }


def message(job: str, number: int, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": message_id(job, number),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def part(words: Words) -> dict[str, Any]:
    logprobs = to_content(words.logprobs)
    return {"type": "output_text", "text": words.text, "annotations": [], "logprobs": logprobs}


def _asked(kept: Kept) -> dict[str, Any]:
    """The fields that repeat what the caller asked."""
    asked, outline = kept.question.parameters, kept.outline
    return {
        "background": outline.background,
        "instructions": _instructions(kept),
        "max_output_tokens": asked.max_new_tokens,
        "max_tool_calls": outline.max_tool_calls,
        "metadata": kept.view.metadata,
        "previous_response_id": outline.previous,
        "prompt_cache_key": outline.prompt_cache_key,
        "safety_identifier": outline.safety_identifier,
        "service_tier": TIERS[kept.view.priority],
        "store": kept.view.stored,
        "temperature": UNSAID if asked.temperature is None else asked.temperature,
        "text": {"format": _format(outline.format, asked.format), "verbosity": "medium"},
        **_tools(kept),
        "top_logprobs": asked.logprobs or 0,
        "top_p": UNSAID if asked.top_p is None else asked.top_p,
        "user": outline.user,
    }


def _tools(kept: Kept) -> dict[str, Any]:
    shown, outline = kept.question.tools, kept.outline
    if shown is None:
        choice = "auto" if outline.unshown is None else "none"
        return {
            "parallel_tool_calls": outline.parallel,
            "tool_choice": choice,
            "tools": outline.unshown or [],
        }
    named = None if shown.named is None else {"type": "function", "name": shown.named}
    return {
        # An earlier release kept it with the functions only.
        "parallel_tool_calls": outline.parallel and shown.parallel,
        "tool_choice": named or ("required" if shown.required else "auto"),
        "tools": [_function(function) for function in shown.functions],
    }


def _function(function: Function) -> dict[str, Any]:
    """`strict` says whether the arguments of calls are held to the schema."""
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": json.loads(function.parameters),
        "strict": function.held is not None,
    }


def _instructions(kept: Kept) -> str | None:
    if not kept.outline.instructed:
        return None
    return "".join(p.text for p in kept.question.messages[0].parts if isinstance(p, Text))


def _format(told: dict[str, Any] | None, held: Format | None) -> dict[str, Any]:
    """The format, with the schema in the form that answers are held to."""
    if told is None or held is None:
        return {"type": "text"}
    return told | ({"schema": json.loads(held.content)} if told["type"] == "json_schema" else {})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": 0,
            "image_tokens": usage.image_tokens,
            **heard(usage),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
