"""Answers held to a format: JSON of a schema, a regular expression, one of several choices.

llguidance says before each token which may come next. It reads the model's own tokenizer, and builds its
automata while they are walked, so that nothing is computed ahead for a vocabulary.
"""

import json
import logging
from collections.abc import Iterable
from typing import Any

from llguidance import LLMatcher, LLTokenizer, regex_to_lark

from shared.errors import CallerError
from shared.request import Format
from worker.engines.trial import begin, fault, reason

log = logging.getLogger(__name__)
# JSON allows any number of blanks and new lines, and a model that has lost its way would write nothing else.
WHITESPACE = " "
# What llguidance takes for its own in a schema; to a caller it is a key without meaning.
OPTIONS = "x-guidance"


class Grammars:
    """What one model's tokens can spell; may be used from several threads."""

    def __init__(self, tokenizer: Any, end_ids: Iterable[int | None]) -> None:
        """Takes a second for 150,000 tokens. A tokenizer that cannot be read is told of when it is needed."""
        self._tokenizer: LLTokenizer | None = None
        ends = [id_ for id_ in end_ids if id_ is not None]
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not ends:
            return
        try:
            self._tokenizer = LLTokenizer(_plain(backend), eos_token=ends)
        except ValueError as error:
            log.warning("no answers can be held to a format: %s", error)

    def compile(self, wanted: Format) -> LLMatcher:
        """What to draw one answer by.

        Raises CallerError `invalid_request` for a format that cannot be used, `unsupported_parameter` where
        the model's tokenizer cannot be read.
        """
        if self._tokenizer is None:
            message = "This model's answers cannot be held to a format: its tokenizer has no known form."
            raise CallerError("unsupported_parameter", message, param="format")
        grammar = _grammar(wanted)
        if wrong := fault(grammar):
            raise _unusable(wrong)
        matcher = begin(self._tokenizer, grammar)
        if wrong := reason(matcher):
            raise _unusable(wrong)
        return matcher


def _plain(backend: Any) -> str:
    """The tokenizer's file without padding and truncation, which are nothing to answers.

    Its decoder is spelled as llguidance knows it: Metaspace is the older word for these three.
    """
    file = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
    decoder = file.get("decoder") or {}
    if decoder.get("type") == "Metaspace":
        space = {"type": "Replace", "pattern": {"String": decoder["replacement"]}, "content": " "}
        file["decoder"] = {
            "type": "Sequence",
            "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}],
        }
    return json.dumps(file)


def _unusable(why: str) -> CallerError:
    return CallerError("invalid_request", f"The format cannot be used: {why}.", param="format")


def _grammar(wanted: Format) -> str:
    """As llguidance reads it. Raises CallerError."""
    if wanted.kind == "json":
        schema = json.loads(wanted.content)
        schema.pop(OPTIONS, None)
        options: Any = {"whitespace_pattern": WHITESPACE}
        try:
            return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)
        except ValueError as error:
            raise _unusable(str(error)) from None
    if wanted.kind == "regex":
        # Classes as JSON Schema's patterns have them: \d is [0-9].
        return LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(wanted.content, 'dw')}/")
    choices = " | ".join(json.dumps(choice) for choice in json.loads(wanted.content))
    return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {choices}")
