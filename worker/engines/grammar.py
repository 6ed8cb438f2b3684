"""Answers held to a format: JSON of a schema, a regular expression, one of several choices; or to calls.

llguidance says before each token which may come next. It reads the model's own tokenizer, and builds its
automata while they are walked, so that nothing is computed ahead for a vocabulary.
"""

import json
import logging
import secrets
from collections.abc import Callable, Container, Iterable
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from shared.errors import CallerError
from shared.request import Format
from worker.engines.calls import Calling
from worker.engines.lark import Spacing, lark, quoted, schema
from worker.engines.trial import begin, reason
from worker.engines.trials import TRIALS

log = logging.getLogger(__name__)
# JSON allows any number of blanks and new lines, and a model that has lost its way would write nothing else.
SPACING: Spacing = {"whitespace_pattern": " "}


class Grammars:
    """What one model's tokens can spell; may be used from several threads."""

    def __init__(self, tokenizer: Any, end_ids: Iterable[int | None]) -> None:
        """Takes a second for 150,000 tokens. A tokenizer that cannot be read is told of when it is needed."""
        self._tokenizer: LLTokenizer | None = None
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        ends = [id_ for id_ in end_ids if id_ is not None]
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not ends:
            return
        try:
            self._tokenizer = LLTokenizer(_plain(backend), eos_token=ends)
        except ValueError as error:
            log.warning("no answers can be held to a format: %s", error)

    def compile(self, wanted: Format, caller: str = "") -> LLMatcher:
        """What to draw one answer by. Callers take turns at trying what is new.

        Raises CallerError `invalid_request` for a format that cannot be used, `unsupported_parameter` where
        the model's tokenizer cannot be read.
        """
        grammar = _grammar(wanted)
        return self._compiled(grammar, grammar, _unusable, caller)

    def calls(self, wanted: Calling, caller: str = "") -> LLMatcher:
        """As `compile`, for calls of functions."""
        # Who tries it knows none of the model's tokens.
        tried = LLMatcher.grammar_from_lark(wanted.lark(quoted))
        grammar = LLMatcher.grammar_from_lark(wanted.lark(self.mark))
        return self._compiled(tried, grammar, _uncallable, caller)

    def mark(self, text: str) -> str:
        """How a grammar names a mark that may be a token of its own."""
        return f"<[{self._added[text]}]>" if text in self._added else quoted(text)

    def _compiled(
        self, tried: str, grammar: str, refusal: Callable[[str], CallerError], caller: str
    ) -> LLMatcher:
        if self._tokenizer is None:
            message = "This model's answers cannot be held to a format: its tokenizer has no known form."
            raise CallerError("unsupported_parameter", message, param=refusal("").param)
        if wrong := TRIALS.fault(tried, caller):
            raise refusal(wrong)
        matcher = begin(self._tokenizer, grammar)
        if wrong := reason(matcher):
            raise refusal(wrong)
        return matcher


def _plain(backend: Any) -> str:
    """The tokenizer's file without padding and truncation, which are nothing to answers.

    Its decoder is spelled as llguidance knows it: Metaspace is the older word for these three.
    """
    file = _unspelled(json.loads(backend.to_str())) | {"padding": None, "truncation": None}
    decoder = file.get("decoder") or {}
    if decoder.get("type") == "Metaspace":
        space = {"type": "Replace", "pattern": {"String": decoder["replacement"]}, "content": " "}
        file["decoder"] = {
            "type": "Sequence",
            "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}],
        }
    return json.dumps(file)


def _unspelled(file: dict[str, Any]) -> dict[str, Any]:
    """With names for special tokens that no caller can guess.

    llguidance tokenizes what a format leaves no choice about, and such a token in its text would be drawn for
    the letters of its name, and tell none.
    """
    added, model, secret = file["added_tokens"], file["model"], secrets.token_hex(8)
    names = {token["content"]: f"\ufdd0{secret} {token['id']}\ufdd1" for token in added if token["special"]}
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(name, name): id_ for name, id_ in vocab.items()}
    else:
        model["vocab"] = [[names.get(name, name), score] for name, score in vocab]
    # Converters write merges for every piece that is made of two others.
    if merges := model.get("merges"):
        model["merges"] = [merge for merge in merges if not _makes(merge, names)]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    renamed = [token | {"content": names.get(token["content"], token["content"])} for token in added]
    return file | {"added_tokens": renamed}


def _makes(merge: str | list[str], names: Container[str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def _unusable(why: str) -> CallerError:
    return CallerError("invalid_request", f"The format cannot be used: {why}.", param="format")


def _uncallable(why: str) -> CallerError:
    return CallerError("invalid_request", f"Calls cannot be held to these schemas: {why}.", param="tools")


def _grammar(wanted: Format) -> str:
    """As llguidance reads it. Raises CallerError."""
    if wanted.kind == "json":
        try:
            return LLMatcher.grammar_from_json_schema(schema(wanted, SPACING))
        except ValueError as error:
            raise _unusable(str(error)) from None
    return LLMatcher.grammar_from_lark(lark(wanted))
