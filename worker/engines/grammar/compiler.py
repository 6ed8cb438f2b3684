"""Compiles what holds answers to a JSON Schema, an expression, a choice, a caller's grammar, or calls.

Before each token llguidance reports which ones may come next. It reads the model's own tokenizer and builds
its automata as it goes, so that nothing is computed ahead for the vocabulary.
"""

import json
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from shared.errors import CallerError
from shared.request import Format
from shared.tool_calls.thoughts import Marks
from worker.engines.grammar.lark import Mark, Spacing, behind_thoughts, json_schema, lark, quoted
from worker.engines.grammar.sandbox import compile_error, matcher_error, start_matcher
from worker.engines.grammar.tool_calls import CallGrammar
from worker.fair_semaphore import FairSemaphore, Waiter

MAX_CONCURRENT = 2
"""Grammars in the sandbox at once; each may take all of its time and memory."""
MAX_CACHED = 256
"""Results cached for all callers together; if there are more, the caller with the most loses its oldest."""


class SandboxResults:
    """What the sandbox reported of each caller's latest grammars; may be used from several threads.

    Each grammar is compiled there once, a few at a time, and callers take turns. Callers share no result, so
    that none can tell from an answer's time what another one sent.
    """

    def __init__(self) -> None:
        self._places = FairSemaphore(MAX_CONCURRENT)
        self._errors: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def error(self, grammar: str, caller: str) -> str:
        """Why this grammar cannot be used; "" if it can. Raises SandboxError.

        A new grammar waits for a place, then takes a tenth of a second to some seconds.
        """
        key = (caller, grammar)
        cached = self._errors.get(key)
        if cached is not None:
            return cached
        with self._places.reserve(1, Waiter(caller)):
            # Another thread may have compiled it in the meantime.
            cached = self._errors.get(key)
            if cached is not None:
                return cached
            error = compile_error(grammar)
            self._store(key, error)
        return error

    def _store(self, key: tuple[str, str], error: str) -> None:
        with self._lock:
            self._errors[key] = error
            if len(self._errors) > MAX_CACHED:
                counts = Counter(caller for caller, _ in self._errors)
                largest = max(counts, key=lambda caller: counts[caller])
                del self._errors[next(key for key in self._errors if key[0] == largest)]


SANDBOX = SandboxResults()
"""That of this process: all models' grammars share its memory."""
log = logging.getLogger("worker.engines.grammar")
# JSON allows any number of spaces and line feeds, and a model that has lost its way would write nothing else.
SPACING: Spacing = {"whitespace_pattern": " "}
Refusal = Callable[[str], CallerError]


class Grammars:
    """Compiles grammars for one model's tokens; may be used from several threads."""

    def __init__(self, tokenizer: Any, end_ids: Iterable[int | None]) -> None:
        """Takes a second for 150,000 tokens. An unreadable tokenizer is reported only once it is needed."""
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

    def compile(self, wanted: Format, caller: str = "", thoughts: Marks | None = None) -> LLMatcher:
        """The matcher for one answer, whose `thoughts` the format does not bind.

        A new format goes through the sandbox first, where callers take turns.

        Raises CallerError `invalid_request` for a format that cannot be used, `unsupported_parameter` if the
        model's tokenizer cannot be read.
        """
        if thoughts is not None:
            return self._behind(lambda _: lark(wanted, SPACING), thoughts, _unusable_format, caller)
        grammar = _grammar(wanted)
        return self._compiled(grammar, grammar, _unusable_format, caller)

    def calls(self, wanted: CallGrammar, caller: str = "", thoughts: Marks | None = None) -> LLMatcher:
        """As `compile`, for calls of functions."""
        return self._behind(wanted.lark, thoughts, _unusable_calls, caller)

    def _behind(
        self, wanted: Callable[[Mark], str], thoughts: Marks | None, refusal: Refusal, caller: str
    ) -> LLMatcher:
        # The sandbox does not know the model's tokens, so its grammar has the marks as text.
        try:
            sandboxed, grammar = (
                LLMatcher.grammar_from_lark(behind_thoughts(wanted(mark), thoughts, mark))
                for mark in (quoted, self.mark)
            )
        except ValueError as error:
            raise refusal(str(error)) from None
        return self._compiled(sandboxed, grammar, refusal, caller)

    def mark(self, text: str) -> str:
        """A mark as a grammar writes it: as its token, if it is one, else as text."""
        return f"<[{self._added[text]}]>" if text in self._added else quoted(text)

    def _compiled(self, sandboxed: str, grammar: str, refusal: Refusal, caller: str) -> LLMatcher:
        if self._tokenizer is None:
            message = "This model's answers cannot be held to a format: its tokenizer has no known form."
            raise CallerError("unsupported_parameter", message, param=refusal("").param)
        if error := SANDBOX.error(sandboxed, caller):
            raise refusal(error)
        matcher = start_matcher(self._tokenizer, grammar)
        if error := matcher_error(matcher):
            raise refusal(error)
        return matcher


def _plain(backend: Any) -> str:
    """The tokenizer's file without padding and truncation, which do not concern answers.

    Its decoder is written as llguidance knows it: Metaspace is the older word for these three.
    """
    file = _renamed(json.loads(backend.to_str())) | {"padding": None, "truncation": None}
    decoder = file.get("decoder") or {}
    if decoder.get("type") == "Metaspace":
        space = {"type": "Replace", "pattern": {"String": decoder["replacement"]}, "content": " "}
        file["decoder"] = {
            "type": "Sequence",
            "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}],
        }
    return json.dumps(file)


def _renamed(file: dict[str, Any]) -> dict[str, Any]:
    """The file with its special tokens renamed so that no caller can guess the names.

    llguidance tokenizes the parts of an answer that a format dictates. A special token's name in them would
    become that token, which makes no text, in the place of the letters.
    """
    added, model, secret = file["added_tokens"], file["model"], secrets.token_hex(8)
    names = {token["content"]: f"\ufdd0{secret} {token['id']}\ufdd1" for token in added if token["special"]}
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(name, name): id_ for name, id_ in vocab.items()}
    else:
        model["vocab"] = [[names.get(name, name), score] for name, score in vocab]
    # Converters write merges for every token that two others make, special tokens included.
    if merges := model.get("merges"):
        model["merges"] = [merge for merge in merges if not _makes(merge, names)]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    renamed = [token | {"content": names.get(token["content"], token["content"])} for token in added]
    return file | {"added_tokens": renamed}


def _makes(merge: str | list[str], names: Container[str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def _unusable_format(why: str) -> CallerError:
    return CallerError("invalid_request", f"The format cannot be used: {why}.", param="format")


def _unusable_calls(why: str) -> CallerError:
    return CallerError("invalid_request", f"Calls cannot be held to these schemas: {why}.", param="tools")


def _grammar(wanted: Format) -> str:
    """The format as llguidance reads it. Raises CallerError."""
    try:
        if wanted.kind == "json":
            return LLMatcher.grammar_from_json_schema(json_schema(wanted.content, SPACING))
        return LLMatcher.grammar_from_lark(lark(wanted, SPACING))
    except ValueError as error:
        raise _unusable_format(str(error)) from None
