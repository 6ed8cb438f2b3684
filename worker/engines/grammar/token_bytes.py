"""Finds a token's characters and bytes, which decoding it by itself does not always show."""

import re
from collections.abc import Sequence
from typing import Any

from worker.engines.sampling.detokenizer import Decode

# A byte in the vocabulary of a tokenizer with byte fallback.
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenNames:
    """Names of one tokenizer's tokens by id, cached at their first use."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._names: dict[int, tuple[str, bytes]] = {
            id_: (token.content, b"" if token.special else token.content.encode())
            for id_, token in tokenizer.added_tokens_decoder.items()
        }
        decoder = str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))
        self._letters = _letters() if "ByteLevel" in decoder else {}
        # Some decoders drop the space before the first word.
        self._before = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]

    def __call__(self, id_: int) -> tuple[str, bytes]:
        """Its text, `\\xf0` for a byte of no whole character, and its bytes, none if it makes no text."""
        if id_ not in self._names:
            octets = self._octets(id_)
            self._names[id_] = octets.decode("utf-8", "backslashreplace"), octets
        return self._names[id_]

    def with_special(self, id_: int) -> tuple[str, bytes]:
        """The same where special tokens are part of the text."""
        text, octets = self(id_)
        return text, octets or text.encode()

    def behind_text(self, decode: Decode) -> Decode:
        """A `decode` for tokens that follow a text, which keeps their first space."""
        before = decode(self._before)
        return lambda ids: decode([*self._before, *ids]).removeprefix(before)

    def _octets(self, id_: int) -> bytes:
        piece = self._tokenizer.convert_ids_to_tokens(id_)
        if piece is None:
            # The network's head has more rows than the tokenizer has tokens.
            return b""
        if self._letters:
            known = all(letter in self._letters for letter in piece)
            return bytes(self._letters[letter] for letter in piece) if known else str(piece).encode()
        byte = BYTE.fullmatch(piece)
        return bytes.fromhex(byte[1]) if byte else self.behind_text(self._decoded)([id_]).encode()

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _letters() -> dict[str, int]:
    """How byte-level tokenizers write bytes: as Latin-1 if printable, else from U+0100 on.

    Source: GPT-2's encoder.py, `bytes_to_unicode`.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
