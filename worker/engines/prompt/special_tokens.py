"""Finds the strings and tokens that callers must not be able to write, as they mean more than text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True)
class Reserved:
    """A pattern of the reserved strings, and the ids that they would become."""

    pattern: re.Pattern[str]
    ids: frozenset[int]

    def escape(self, text: str) -> str:
        """Break every reserved string with a zero-width space, repeatedly if the pieces form another one."""
        while self.pattern.search(text):
            text = self.pattern.sub(lambda match: match[0][0] + ZERO_WIDTH_SPACE + match[0][1:], text)
        return text

    def count(self, ids: Iterable[int]) -> int:
        """How many of `ids` are reserved."""
        return sum(token in self.ids for token in ids)


def reserved(processor: Any, template: str, placeholder_ids: frozenset[int]) -> Reserved:
    """Special tokens, added tokens the template writes, and the strings the processor expands.

    Other added tokens are ordinary text, such as runs of newlines and HTML tags.
    """
    tokenizer = processor.tokenizer
    control = {
        id_: token.content
        for id_, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or token.content in template)
    }
    named = (str(value) for name, value in vars(processor).items() if name.endswith("_token") and value)
    # One that is a word (`TILE`) callers write, too.
    expanded = {text for text in named if re.search(r"\W", text) or text in tokenizer.get_added_vocab()}
    strings = sorted({*control.values(), *expanded, *tokenizer.all_special_tokens}, key=len, reverse=True)
    # A token of one character cannot be broken.
    pattern = re.compile("|".join(re.escape(s) for s in strings if len(s) > 1) or "(?!)")
    # A character the vocabulary lacks becomes `unk` by itself.
    ids = (control.keys() | set(tokenizer.all_special_ids) | placeholder_ids) - {tokenizer.unk_token_id}
    return Reserved(pattern, frozenset(ids))
