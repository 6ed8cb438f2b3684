"""A model's tokens as llguidance reads them: decoding one by itself does not always show its bytes."""

import json
import logging
import secrets
from collections.abc import Container, Iterable
from typing import Any

from llguidance import LLTokenizer

from worker.engines.sampling.detokenizer import Decode

log = logging.getLogger("worker.engines.grammar")


def guidance_tokenizer(tokenizer: Any, end_ids: Iterable[int | None]) -> LLTokenizer | None:
    """None where llguidance cannot read it. Takes a second for 150,000 tokens."""
    ends = [id_ for id_ in end_ids if id_ is not None]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not ends:
        return None
    try:
        return LLTokenizer(_plain(backend), eos_token=ends)
    except ValueError as error:
        log.warning("no answers can be held to a format: %s", error)
        return None


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


class TokenNames:
    """Names of one tokenizer's tokens by id, cached at their first use."""

    def __init__(self, tokenizer: Any, guidance: LLTokenizer | None) -> None:
        self._tokenizer, self._guidance = tokenizer, guidance
        self._names: dict[int, tuple[str, bytes]] = {
            id_: (token.content, b"" if token.special else token.content.encode())
            for id_, token in tokenizer.added_tokens_decoder.items()
        }
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
        if self._tokenizer.convert_ids_to_tokens(id_) is None:
            # The network's head has more rows than the tokenizer has tokens.
            return b""
        if self._guidance is not None:
            return self._guidance.decode_bytes([id_])
        return self.behind_text(self._tokenizer.decode)([id_]).encode()
