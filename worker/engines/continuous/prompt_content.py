"""What a prompt says and shows, token by token, so that a later prompt can be compared with it for reuse."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.request import Image, Message, Request
from worker.engines.base import Prompt, Samples
from worker.engines.continuous.model_inputs import encoder_inputs
from worker.engines.continuous.prefix_cache import Mark
from worker.engines.loading.loaded import LoadedModel

# What later requests to the same model may reuse of a request; `verify.reuse` finds it out.


@dataclass(frozen=True)
class Reusable:
    """`beginnings` of prompts with their answers, encoded `pictures`, and whether several are kept `apart`.

    `flaw` says why something is not reused.
    """

    beginnings: bool = False
    pictures: bool = False
    apart: bool = False
    flaw: str = ""

    @property
    def anything(self) -> bool:
        return self.beginnings or self.pictures

    @property
    def words(self) -> str:
        """What was proved, in words for the operator."""
        names = ["beginnings of prompts"] * self.beginnings + ["encoded pictures"] * self.pictures
        why = f" ({self.flaw})" if self.flaw else ""
        return f"reuses {' and '.join(names) or 'nothing'}{why}"


@dataclass(frozen=True)
class PictureTokens:
    """One picture: how many placeholder `tokens` it has, and what the processor made of it by itself.

    `inputs` is None if the picture was already kept encoded when the prompt was prepared.
    """

    digest: str
    tokens: int
    inputs: Any


@dataclass(frozen=True)
class PromptContent:
    """A prompt as this engine takes it; `inputs` are the processor's, for the whole prompt.

    Without `marks` nothing of the prompt is reused. Without `shown` its pictures and sounds cannot be told
    apart and are reused all together or not at all.
    """

    inputs: Any
    scope: str = ""
    marks: tuple[Mark, ...] = ()
    shown: tuple[PictureTokens, ...] = ()

    def behind(self, start: int) -> tuple[Sequence[PictureTokens], int]:
        """The pictures that do not end within the first `start` tokens, and the other ones' placeholders."""
        pictures_before = sum(isinstance(mark, tuple) for mark in self.marks[:start])
        skipped = 0
        for number, picture in enumerate(self.shown):
            if skipped + picture.tokens > pictures_before:
                return self.shown[number:], skipped
            skipped += picture.tokens
        return (), skipped


class ContentReader:
    """Safe to use from several threads."""

    def __init__(
        self, loaded: LoadedModel, reusable: Reusable, known_tokens: Callable[[str, str], int | None]
    ) -> None:
        """`known(scope, digest)` returns the placeholders of a picture that is kept, else None."""
        self._loaded = loaded
        self._what = reusable
        self._known = known_tokens
        self._encodes = reusable.pictures and bool(encoder_inputs(loaded.network))

    def content(
        self,
        prompt: Prompt,
        pictures: Sequence[Picture],
        scope: str | None,
        sounds: Sequence[Samples] = (),
    ) -> PromptContent:
        if scope is None:
            return PromptContent(prompt.inputs)
        if not self._what.anything or bool(pictures) != bool(prompt.image_tokens):
            # Nothing may be reused, or the prompt's pictures have no placeholders.
            return PromptContent(prompt.inputs, scope)
        digests, renderer = [_digest(picture) for picture in pictures], self._loaded.renderer
        # Pictures beside sounds are reused only together with them.
        marked = () if sounds else self._shown(prompt, list(zip(digests, pictures, strict=True)), scope)
        owners = [picture.digest for picture in marked for _ in range(picture.tokens)]
        owners = owners or ["+".join(digests)] * prompt.image_tokens
        sound_marks = ["+".join(hashlib.sha256(sound).hexdigest() for sound in sounds)] * prompt.audio_tokens
        named = {renderer.image_id: iter(owners), renderer.sound_input.id: iter(sound_marks)}
        return PromptContent(
            prompt.inputs, scope, _marks(prompt.inputs["input_ids"][0].tolist(), named), marked
        )

    def _shown(
        self, prompt: Prompt, pictures: Sequence[tuple[str, Picture]], scope: str
    ) -> tuple[PictureTokens, ...]:
        if not self._encodes or (len(pictures) > 1 and not self._what.apart):
            return ()
        if len(pictures) == 1:
            return (PictureTokens(pictures[0][0], prompt.image_tokens, prompt.inputs),)
        try:
            single = {
                digest: self._single(digest, picture, scope) for digest, picture in dict(pictures).items()
            }
        except CallerError:
            return ()  # the model takes no picture without other content
        counts = tuple(single[digest] for digest, _ in pictures)
        # Some processors cut a picture differently when the prompt has others.
        return counts if sum(one.tokens for one in counts) == prompt.image_tokens else ()

    def _single(self, digest: str, picture: Picture, scope: str) -> PictureTokens:
        """Raises CallerError."""
        tokens = self._known(scope, digest)
        if tokens is not None:
            return PictureTokens(digest, tokens, None)
        loaded = self._loaded
        request = Request(
            model=loaded.model.id,
            messages=(Message(role="user", parts=(Image(),)),),
            raw=not loaded.facts.has_chat_template,
        )
        prompt = loaded.renderer.prompt(request, [picture])
        return PictureTokens(digest, prompt.image_tokens, prompt.inputs)


def _marks(ids: Sequence[int], owners: Mapping[int | None, Iterator[str]]) -> tuple[Mark, ...]:
    """`owners` maps a placeholder token to the digests that its occurrences stand for, in reading order.

    Adjacent placeholders are named after all of their pictures, in order and with repeats: a model whose
    attention is bidirectional in a picture may look from one picture into the next.
    """
    marks = list[Mark]()
    for id_, run in groupby(ids):
        if id_ not in owners:
            marks += run
            continue
        run_owners = [next(owners[id_]) for _ in run]
        name = " ".join(f"{digest}*{len(list(same))}" for digest, same in groupby(run_owners))
        marks += [(name, at) for at in range(len(run_owners))]
    return tuple(marks)


def _digest(picture: Picture) -> str:
    """A digest of the pixels, so that the same picture in another file counts as the same."""
    return hashlib.sha256(b"%d %d " % picture.size + picture.tobytes()).hexdigest()
