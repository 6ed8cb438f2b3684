"""A generation's attributes in OpenTelemetry's semantic conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from shared.request import Request
from shared.result import Result
from shared.telemetry.traces import Attributes, Value

FIRST_TOKEN = "gen_ai.first_token"  # noqa: S105 - the name of an event


def name_of(request: Request) -> str:
    return f"{_operation(request)} {request.model}"


def asked(request: Request) -> Attributes:
    """The attributes of a request, without any of its content."""
    said = request.parameters
    wanted: dict[str, Value | None] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": "sightline",
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": said.max_new_tokens,
        "gen_ai.request.temperature": said.temperature,
        "gen_ai.request.top_p": said.top_p,
        "gen_ai.request.top_k": said.top_k,
        "gen_ai.request.frequency_penalty": said.frequency_penalty,
        "gen_ai.request.presence_penalty": said.presence_penalty,
        "gen_ai.request.seed": said.seed,
        "gen_ai.request.choice.count": said.n,
        "gen_ai.output.type": "json" if said.format and said.format.kind == "json" else "text",
        "sightline.pictures": len(request.images),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def answered(request: Request, result: Result) -> Attributes:
    usage = result.usage
    return {
        "gen_ai.response.model": request.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in result.choices],
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }


def _operation(request: Request) -> str:
    return "text_completion" if request.raw else "chat"
