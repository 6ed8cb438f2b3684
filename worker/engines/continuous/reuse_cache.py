"""What earlier requests leave in memory for later ones: beginnings of prompts, and encoded pictures.

Nothing is shared between scopes, so that no caller can tell from an answer's time what another caller asked.
Only `placeholders` and `counts` may be used by other threads than the engine's.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

from transformers import BatchFeature

from shared.estimate import ReuseCounts
from worker.engines.base import Cancelled
from worker.engines.continuous.kv_slices import KnownPrefix, KVSlices
from worker.engines.continuous.model_inputs import PIXELS, EncodedPictures, encode, encode_all, merged
from worker.engines.continuous.prefill import CutPoints, Prefilled
from worker.engines.continuous.prefix_cache import CachedPrefix, PrefixTree, ReuseBudget
from worker.engines.continuous.prompt_content import ProcessedPicture, PromptContent, Reusable
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.torch_errors import UNFIT, device_broken, out_of_memory

log = logging.getLogger("worker.engines.continuous")
# Beginnings shorter than this take longer to copy than to compute.
FEWEST = 8
# A prompt waits for another one's beginning only if that saves it this many tokens.
WORTH = 16
# Placeholders of the pictures encoded in one call; more save little.
LOOK = 1024

Key = tuple[str, str]
"""Scope and digest of a picture."""


@dataclass(eq=False)
class CachedPicture:
    """An encoded picture that is kept in `pictures` under `key`."""

    pictures: "dict[Key, CachedPicture]"
    key: Key
    encoded: EncodedPictures

    @property
    def bytes(self) -> int:
        return self.encoded.bytes

    def drop(self) -> None:
        del self.pictures[self.key]


class ReuseCache:
    """Keeps at most `limit` bytes; what was least recently used goes first."""

    def __init__(
        self,
        loaded: LoadedModel,
        cut_points: CutPoints,
        limit: int,
        reusable: Reusable,
        *,
        together: bool = False,
    ) -> None:
        """`together`: whether pictures of several prompts are encoded in one call."""
        self.cut_points = cut_points
        self._network = loaded.network
        self._moved = loaded.moved
        self._what = reusable
        self._ledger = ReuseBudget(limit)
        self._prefixes = PrefixTree(self._ledger)
        self._pictures: dict[Key, CachedPicture] = {}
        self._together = together
        self._ahead: dict[Key, EncodedPictures] = {}
        self._prompts = self._hits = self._tokens = 0

    @property
    def counts(self) -> ReuseCounts | None:
        """None if nothing may be kept."""
        if not self._what.anything:
            return None
        return ReuseCounts(self._prompts, self._hits, self._tokens, self._ledger.bytes)

    def placeholders(self, scope: str, digest: str) -> int | None:
        """The placeholders of a picture, None if it is not kept. Any thread may call it."""
        picture = self._pictures.get((scope, digest))
        return None if picture is None else len(picture.encoded.rows)

    def follows(self, content: PromptContent, others: Sequence[PromptContent]) -> bool:
        """Whether much more of the prompt will be known once one of the others is computed."""
        if not (content.marks and self._what.beginnings):
            return False
        scope = self._scope(content)
        shared = max(
            (
                self._prefixes.shared(content.marks, other.marks)
                for other in others
                if other.marks and self._scope(other) == scope
            ),
            default=0,
        )
        return shared >= WORTH and shared - self._prefixes.cached_length(scope, content.marks) >= WORTH

    @contextmanager
    def encoding_ahead(self, contents: Sequence[PromptContent]) -> Iterator[None]:
        """Encode the new pictures of these prompts, some in one call, for the calls of `head` in the body."""
        try:
            self._encode_ahead(contents)
            yield
        finally:
            self._ahead = {}

    def head(self, content: PromptContent) -> KnownPrefix:
        """What is kept of a prompt. The pictures after it are encoded if they are not kept."""
        prefix = self._lookup(content) if content.marks else None
        start = prefix.tokens if prefix else 0
        shown, skipped = content.behind(start)
        each = [self._picture(content.scope, picture) for picture in shown]
        if None in each or not (prefix or each):
            return KnownPrefix(self._moved(content.inputs))
        pictures = merged([picture for picture in each if picture]) if each else None
        rest = {name: value for name, value in content.inputs.items() if name not in PIXELS}
        inputs = self._moved(BatchFeature(rest | content.sounds_behind(start)))
        if prefix is None:
            return KnownPrefix(inputs, pictures=pictures)
        return KnownPrefix(inputs, prefix.tokens, prefix.past, prefix.logits, pictures, skipped)

    def keep(self, content: PromptContent, prefilled: Prefilled) -> None:
        """Keep a whole prompt."""
        with self._luxury():
            if content.marks and self._what.beginnings:
                past = KVSlices.of(prefilled.cache)
                self._prefixes.keep(self._scope(content), content.marks, past, prefilled.logits)

    def keep_answer(
        self, content: PromptContent, fed: Sequence[int], past: Callable[[], KVSlices | None]
    ) -> None:
        """Keep a prompt with the answer's tokens that were fed: a chat's next turn begins with them."""
        with self._luxury():
            cut = self._what.beginnings and self.cut_points is not CutPoints.NOWHERE
            if content.marks and cut and (row := past()):
                self._prefixes.keep(content.scope, (*content.marks, *fed), row)

    def give_back(self) -> bool:
        """Drop everything, and keep at most half as much for a while; False if there was nothing."""
        if not self._ledger.bytes:
            return False
        self._ledger.halve()
        return True

    def _lookup(self, content: PromptContent) -> CachedPrefix | None:
        self._prompts += 1
        if not self._what.beginnings:
            return None
        prefix = self._prefixes.find(self._scope(content), content.marks, _cuts(content, self.cut_points))
        if prefix:
            self._hits += 1
            self._tokens += prefix.tokens
        return prefix

    def _scope(self, content: PromptContent) -> Hashable:
        """The scope, or where a token may depend on all others, one that only the same prompt shares."""
        return (content.scope, content.marks) if self.cut_points is CutPoints.NOWHERE else content.scope

    @contextmanager
    def _luxury(self) -> Iterator[None]:
        """If the memory to keep something runs out, give back all that is kept instead of failing."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self.give_back()

    def _encode_ahead(self, contents: Sequence[PromptContent]) -> None:
        """Encode new pictures ahead. If that fails, each is encoded by itself, and only the culprit fails."""
        new: dict[Key, ProcessedPicture] = {}
        for content in contents if self._together else ():
            if content.marks:
                known_tokens = self._prefixes.cached_length(self._scope(content), content.marks)
                for picture in content.behind(known_tokens)[0]:
                    if (content.scope, picture.digest) not in self._pictures and picture.inputs is not None:
                        new.setdefault((content.scope, picture.digest), picture)
        keys = list(new)
        try:
            while len(keys) > 1:
                some = _some(keys, [new[key].tokens for key in keys])
                calls = [(self._moved(new[key].inputs), new[key].tokens) for key in some]
                found = zip(some, encode_all(self._network, calls), strict=True)
                self._ahead |= {key: encoded for key, encoded in found if encoded is not None}
                keys = keys[len(some) :]
        except Cancelled:
            return  # The next computation for these answers is cancelled, too.
        except Exception as error:
            # The outermost frame of work for several answers: it names no culprit.
            log.warning("%d pictures are encoded one by one: %s", len(new), error)

    def _picture(self, scope: str, picture: ProcessedPicture) -> EncodedPictures | None:
        entry = self._pictures.get((scope, picture.digest))
        if entry is None:
            return self._encoded((scope, picture.digest), picture)
        self._ledger.use([entry])
        return entry.encoded

    def _encoded(self, key: Key, picture: ProcessedPicture) -> EncodedPictures | None:
        """None if it was dropped meanwhile, cannot be encoded by itself, or has not a row per placeholder."""
        encoded = self._ahead.get(key)
        if encoded is None and picture.inputs is not None:
            encoded = self._alone(picture)
        if encoded is None or len(encoded.rows) != picture.tokens:
            return None
        if self._ledger.room(encoded.bytes):
            self._pictures[key] = CachedPicture(self._pictures, key, encoded)
            self._ledger.use([self._pictures[key]])
        return encoded

    def _alone(self, picture: ProcessedPicture) -> EncodedPictures | None:
        """None if the model fails on it; with its whole prompt it may not (Mistral 3, for one token)."""
        try:
            return encode(self._network, self._moved(picture.inputs))
        except UNFIT as error:
            if out_of_memory(error) or device_broken(error):
                raise
            log.warning("a picture is encoded with all of its prompt: %s", error)
            return None


def _some(keys: Sequence[Key], tokens: Sequence[int]) -> Sequence[Key]:
    """The first picture, and as many more as one call takes."""
    count = sum(end <= LOOK for end in accumulate(tokens))
    return keys[: max(1, count)]


def _cuts(content: PromptContent, cut_points: CutPoints) -> Callable[[int], bool]:
    """A function that tells whether the prompt may be cut after so many of its tokens."""
    inside = [
        False,
        *(isinstance(one, tuple) and isinstance(other, tuple) for one, other in pairwise(content.marks)),
    ]
    # Pictures that cannot be told apart can only be encoded all together, so the cut comes after the last
    # one.
    first = FEWEST if content.shown or not content.places else max(FEWEST, content.places[-1] + 1)

    def allows(at: int) -> bool:
        if cut_points is CutPoints.NOWHERE or at < first:
            return False
        if any(sound.start < at < sound.stop for sound in content.sound_ranges):
            return False
        return cut_points is CutPoints.ANYWHERE or not inside[at]

    return allows
