"""Translates the format or calls that an answer is held to into vLLM's terms."""

from dataclasses import dataclass

from llguidance import LLMatcher

from shared.request import Format, Request
from worker.engines.grammar.lark import behind_thoughts, json_schema, lark
from worker.engines.loading.language import Language

# Where the llguidance of vLLM 0.33 takes a blank between other characters, it takes any number of them.
SPACING: dict[str, str | bool] = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}


@dataclass(frozen=True)
class Constraint:
    """`params` go to vLLM's StructuredOutputsParams; `matcher` checks the answer in this process."""

    matcher: LLMatcher
    params: dict[str, str]


def form(language: Language, request: Request, caller: str) -> Constraint | None:
    """None if any text is allowed. Raises CallerError as `worker.engines.base.Engine.grammar` says."""
    matcher = language.grammar(request, caller)
    if matcher is None:
        return None
    calling, format = language.calling(request, SPACING), request.parameters.format
    mark, thoughts = language.grammars.mark, language.renderer.template.thoughts_of(request)
    if calling is not None:
        return Constraint(matcher, {"grammar": behind_thoughts(calling.lark(mark), thoughts, mark)})
    if format is not None and thoughts is not None:
        return Constraint(matcher, {"grammar": behind_thoughts(lark(format, SPACING), thoughts, mark)})
    return Constraint(matcher, {} if format is None else structured(format))


def structured(format: Format) -> dict[str, str]:
    """The format as vLLM takes it, which reads it with llguidance, as our own engines do."""
    if format.kind == "json":
        return {"json": json_schema(format.content, SPACING)}
    return {"grammar": lark(format, SPACING)}
