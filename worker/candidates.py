"""Makes the answers to one prompt, of which a request may want several, and puts them into one result."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.request import Parameters, Request
from shared.result import Choice, JobError, Origin, Piece, Result, Usage
from worker.engines.base import Engine, Finish, Prompt, Row
from worker.publisher import Channel

FORMAT_VIOLATED = "format_violated"
NOTHING = Piece(0, "", ())


def rows(
    prompt: Prompt,
    parameters: Parameters,
    grammar: Any,
    channels: Sequence[Channel],
    published: Mapping[int, Piece],
    on_begin: Callable[[], None] = lambda: None,
) -> list[Row]:
    """One row for each channel, which continues what an earlier attempt has `published` on it."""
    return [
        Row(
            prompt,
            parameters.of_choice(number),
            channel.emit,
            channel.lease.cancel,
            published.get(number, NOTHING).ids,
            published.get(number, NOTHING).text,
            grammar,
            channel.lease.since,
            on_begin,
        )
        for number, channel in enumerate(channels)
    ]


def with_seed(parameters: Parameters, engine: Engine, run: str) -> Parameters:
    """The parameters, with a seed for the receipt if tokens are sampled and the request names none.

    The seed comes from the run's id, so that each attempt draws the same; it is small enough for every JSON
    reader.
    """
    if parameters.seed is not None or not (engine.repeatable and parameters.samples(engine.facts.samples)):
        return parameters
    digest = hashlib.sha256(run.encode("ascii")).digest()
    return parameters.model_copy(update={"seed": int.from_bytes(digest[:6])})


def generate(engine: Engine, rows: Sequence[Row]) -> list[Finish]:
    """Generate the answers; without sampling all are the same, so one is computed and copied for each.

    Raises as `Engine.generate`.
    """
    if rows[0].parameters.samples(engine.facts.samples):
        return engine.generate_all(rows)
    finish = engine.generate(rows[0])
    for row in rows[1:]:
        # In one piece, so that an earlier attempt has published all of it or nothing.
        row.emit(Piece(0, finish.text, finish.ids, finish.logprobs))
    return [finish, *(replace(finish, compute_s=0.0) for _ in rows[1:])]


def result(
    engine: Engine, prompt: Prompt, parameters: Parameters, finishes: Sequence[Finish], prepared_s: float
) -> Result:
    """Counts the prompt once; the time runs from the first step of any answer to the last of any."""
    took_s = max(f.began + f.compute_s for f in finishes) - min(f.began for f in finishes)
    return Result(
        choices=tuple(
            Choice(text=f.text, finish_reason=f.reason, score=f.score, logprobs=f.logprobs, cut=f.cut)
            for f in finishes
        ),
        usage=Usage(
            prompt_tokens=prompt.tokens,
            completion_tokens=sum(len(f.ids) for f in finishes),
            image_tokens=prompt.image_tokens,
            pictures=prompt.seen,
            audio_tokens=prompt.audio_tokens,
            cached_tokens=finishes[0].cached_tokens,
            reasoning_tokens=sum(f.reasoning_tokens for f in finishes),
        ),
        fingerprint=engine.fingerprint,
        compute_s=round(prepared_s + took_s, 6),
        syntax=prompt.syntax,
        origin=Origin(
            made_of=engine.made_of, parameters=_shown_parameters(engine.effective(prompt, parameters))
        ),
    )


def format_error(request: Request, result: Result) -> JobError | None:
    """Of an answer that is complete and does not match its JSON Schema, or its function's."""
    format, tools = request.parameters.format, request.tools
    strict = tools is not None and any(function.strict_schema for function in tools.functions)
    if not (format and format.kind == "json") and not strict:
        return None
    # What it needs is installed with the engines that take a format.
    from worker.engines.grammar.answer_check import violation

    message = violation(request, result)
    return JobError(code=FORMAT_VIOLATED, message=message, retryable=True) if message else None


def _shown_parameters(parameters: Parameters) -> dict[str, Any]:
    """The parameters without the format, which may be long and is in the request."""
    values = parameters.model_dump(mode="json", exclude_none=True, exclude={"format"})
    if "chat_template_kwargs" in values:
        values["chat_template_kwargs"] = dict(values["chat_template_kwargs"])
    return {name: value for name, value in values.items() if value != []}
