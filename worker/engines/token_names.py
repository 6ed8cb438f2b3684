"""What one token stands for: its characters and bytes, which decoding it alone does not tell."""

import re
from collections.abc import Sequence
from typing import Any

from worker.engines.detokenizer import Decode

# Of a tokenizer that falls back to bytes.
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenNames:
    """The tokens of one tokenizer, by id; what was asked for once is kept."""

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
        """As readers see it, `\\xf0` for what is no whole character; its bytes, none if it makes no text."""
        if id_ not in self._names:
            octets = self._octets(id_)
            self._names[id_] = octets.decode("utf-8", "backslashreplace"), octets
        return self._names[id_]

    def behind_text(self, decode: Decode) -> Decode:
        """The same for tokens with a text before them: their first space stays."""
        before = decode(self._before)
        return lambda ids: decode([*self._before, *ids]).removeprefix(before)

    def _octets(self, id_: int) -> bytes:
        piece = self._tokenizer.convert_ids_to_tokens(id_)
        if piece is None:
            # More rows in the network's head than tokens in the tokenizer.
            return b""
        if self._letters:
            known = all(letter in self._letters for letter in piece)
            return bytes(self._letters[letter] for letter in piece) if known else str(piece).encode()
        byte = BYTE.fullmatch(piece)
        return bytes.fromhex(byte[1]) if byte else self.behind_text(self._decoded)([id_]).encode()

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _letters() -> dict[str, int]:
    """What byte-level tokenizers write bytes with: Latin-1 where that can be printed, else U+0100 and on.

    Source: GPT-2's encoder.py, `bytes_to_unicode`.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
