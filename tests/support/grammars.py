"""What a grammar takes, byte by byte."""

from collections.abc import Iterable

from llguidance import LLTokenizer

from worker.engines.grammar.sandbox import begin, reason

TOKENIZER = LLTokenizer("byte")


def taken(grammar: str, texts: Iterable[str]) -> list[str]:
    """Those that may be the whole of what is written."""
    start = begin(TOKENIZER, grammar)
    assert not (why := reason(start)), why
    found = []
    for text in texts:
        matcher = start.deep_copy()
        ids = TOKENIZER.tokenize_str(text)
        if matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting():
            found.append(text)
    return found
