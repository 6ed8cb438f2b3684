"""What an answer is held to, in words that vLLM takes."""

from dataclasses import dataclass

from llguidance import LLMatcher

from shared.request import Format, Request
from worker.engines.language import Language
from worker.engines.lark import lark, schema

# The llguidance that comes with vLLM 0.32 takes any number of blanks where it takes one between other signs.
SPACING: dict[str, str | bool] = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}


@dataclass(frozen=True)
class Form:
    """`said` is for vLLM's StructuredOutputsParams; `matcher` follows the answer here."""

    matcher: LLMatcher
    said: dict[str, str]


def form(language: Language, request: Request, caller: str) -> Form | None:
    """None where any text will do. Raises CallerError as `worker.engines.base.Engine.grammar` says."""
    matcher = language.grammar(request, caller)
    if matcher is None:
        return None
    calling, wanted = language.calling(request, SPACING), request.parameters.format
    if calling is not None:
        return Form(matcher, {"grammar": calling.lark(language.grammars.mark)})
    return Form(matcher, {} if wanted is None else structured(wanted))


def structured(wanted: Format) -> dict[str, str]:
    """vLLM reads it by the same library that our own formats are drawn by."""
    return {"json": schema(wanted, SPACING)} if wanted.kind == "json" else {"grammar": lark(wanted)}
