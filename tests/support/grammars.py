"""What a grammar accepts, byte by byte."""

from collections.abc import Iterable

from llguidance import LLTokenizer

from worker.engines.grammar.sandbox import matcher_error, start_matcher

TOKENIZER = LLTokenizer("byte")


def accepted_by(grammar: str, texts: Iterable[str]) -> list[str]:
    """Those that may be a whole answer."""
    start = start_matcher(TOKENIZER, grammar)
    assert not (error := matcher_error(start)), error
    accepted = []
    for text in texts:
        matcher = start.deep_copy()
        ids = TOKENIZER.tokenize_str(text)
        if matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting():
            accepted.append(text)
    return accepted
