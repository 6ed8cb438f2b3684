"""What a prompt says and shows, token by token, so that a later prompt can be compared with it for reuse."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, starmap, zip_longest
from typing import Any

import torch
from PIL.Image import Image as Picture
from transformers import BatchFeature

from shared.errors import CallerError
from worker.engines.base import Prompt, Samples
from worker.engines.continuous.model_inputs import SOUNDS, encoder_inputs, numbers
from worker.engines.continuous.picture_slices import slices
from worker.engines.continuous.prefix_cache import Mark
from worker.engines.loading.loaded import LoadedModel

# What later requests to the same model may reuse of a request; `verify.reuse` finds it out.


@dataclass(frozen=True)
class Reusable:
    """`beginnings` of prompts with their answers, encoded `pictures`, and whether several are kept `apart`.

    `slices`: whether what the processor makes of several is what it makes of each, one after the other.
    `sounds`: whether a prompt may be continued between its sounds. `flaw` says why something is not reused.
    """

    beginnings: bool = False
    pictures: bool = False
    apart: bool = False
    slices: bool = False
    sounds: bool = False
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
class ProcessedPicture:
    """One picture: how many placeholder `tokens` it has, and what the processor made of it by itself.

    `inputs` is None if the picture was already kept encoded when the prompt was prepared.
    """

    digest: str
    tokens: int
    inputs: Any


@dataclass(frozen=True)
class PromptContent:
    """A prompt as this engine takes it; `inputs` are the processor's, for the whole prompt.

    Without `marks` nothing of the prompt is reused. Without `shown` its pictures cannot be told apart and are
    reused all together or not at all. `places` are its pictures' placeholders. It cannot be cut
    within one of `sound_ranges`.
    """

    inputs: Any
    scope: str = ""
    marks: tuple[Mark, ...] = ()
    shown: tuple[ProcessedPicture, ...] = ()
    places: Sequence[int] = ()
    sound_ranges: Sequence[range] = ()

    def behind(self, start: int) -> tuple[Sequence[ProcessedPicture], int]:
        """The pictures that do not end within the first `start` tokens, and the other ones' placeholders."""
        pictures_before = bisect_left(self.places, start)
        skipped = 0
        for number, picture in enumerate(self.shown):
            if skipped + picture.tokens > pictures_before:
                return self.shown[number:], skipped
            skipped += picture.tokens
        return (), skipped

    def sounds_behind(self, start: int) -> dict[str, Any]:
        """The inputs of the sounds that do not end within the first `start` tokens."""
        known = sum(sound.stop <= start for sound in self.sound_ranges)
        if known == len(self.sound_ranges):
            return {}
        return {name: value[known:] for name, value in self.inputs.items() if name in SOUNDS}


class ContentReader:
    """Safe to use from several threads."""

    def __init__(
        self, loaded: LoadedModel, reusable: Reusable, known_tokens: Callable[[str, str], int | None]
    ) -> None:
        """`known_tokens(scope, digest)` returns the placeholders of a picture that is kept, else None."""
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
        files: Sequence[str | None] = (),
    ) -> PromptContent:
        """`files` are the digests of the pictures' files, where they are known."""
        if scope is None:
            return PromptContent(prompt.inputs)
        if not self._what.anything or _unmarked(prompt, pictures, sounds):
            return PromptContent(prompt.inputs, scope)
        ids: list[int] = prompt.inputs["input_ids"][0].tolist()
        digests, renderer = [*starmap(_digest, zip_longest(pictures, files))], self._loaded.renderer
        shown = self._processed_pictures(prompt, list(zip(digests, pictures, strict=True)), scope)
        owners = [picture.digest for picture in shown for _ in range(picture.tokens)]
        owners = owners or ["+".join(digests)] * prompt.image_tokens
        sound_owners, sound_ranges = self._sound_ranges(prompt, ids, sounds)
        named = {renderer.image_id: iter(owners), renderer.sound_input.id: iter(sound_owners)}
        places = [at for at, id_ in enumerate(ids) if id_ == renderer.image_id]
        return PromptContent(prompt.inputs, scope, _marks(ids, named), shown, places, sound_ranges)

    def _processed_pictures(
        self, prompt: Prompt, pictures: Sequence[tuple[str, Picture]], scope: str
    ) -> tuple[ProcessedPicture, ...]:
        if not pictures or not self._encodes or (len(pictures) > 1 and not self._what.apart):
            return ()
        if len(pictures) == 1:
            return (ProcessedPicture(pictures[0][0], prompt.image_tokens, prompt.inputs),)
        if self._what.slices and (shown := self._exact_slices(prompt, pictures)):
            return shown
        return self._singles(prompt, pictures, scope) or self._slices(prompt, len(pictures))

    def _exact_slices(
        self, prompt: Prompt, pictures: Sequence[tuple[str, Picture]]
    ) -> tuple[ProcessedPicture, ...]:
        parts = slices(self._loaded, prompt, [picture.size for _, picture in pictures])
        # One for each picture, or none.
        named = zip(pictures, parts, strict=False)
        return tuple(ProcessedPicture(digest, part.tokens, part.inputs) for (digest, _), part in named)

    def _singles(
        self, prompt: Prompt, pictures: Sequence[tuple[str, Picture]], scope: str
    ) -> tuple[ProcessedPicture, ...]:
        try:
            single = {
                digest: self._single(digest, picture, scope) for digest, picture in dict(pictures).items()
            }
        except CallerError:
            return ()  # the model takes no picture without other content
        counts = tuple(single[digest] for digest, _ in pictures)
        # Some processors cut a picture differently when the prompt has others.
        return counts if sum(one.tokens for one in counts) == prompt.image_tokens else ()

    def _slices(self, prompt: Prompt, count: int) -> tuple[ProcessedPicture, ...]:
        """Each picture's part of what the processor made of all; empty if it cannot be told.

        Its digest says also how the picture was cut.
        """
        tokens = self._loaded.renderer.picture_token_counts(prompt.inputs, count)
        accepted = encoder_inputs(self._loaded.network)
        inputs = {name: value for name, value in sorted(prompt.inputs.items()) if name in accepted}
        own = {
            name: value for name, value in inputs.items() if torch.is_tensor(value) and len(value) == count
        }
        pixels = {name for name, value in inputs.items() if numbers(value)}
        if sum(tokens) != prompt.image_tokens or not pixels or not pixels <= own.keys():
            return ()
        parts = [{name: value[at : at + 1] for name, value in own.items()} for at in range(count)]
        return tuple(
            ProcessedPicture(_digest_of(part), each, BatchFeature(inputs | part))
            for part, each in zip(parts, tokens, strict=True)
        )

    def _sound_ranges(
        self, prompt: Prompt, ids: Sequence[int], sounds: Sequence[Samples]
    ) -> tuple[list[str], list[range]]:
        """A name for each placeholder of a sound, and the tokens of each sound.

        Where the model cannot be given some of the sounds, they are one, and so is all before them.
        """
        if not sounds:
            return [], []
        digests = [hashlib.sha256(sound).hexdigest() for sound in sounds]
        runs = _runs(ids, self._loaded.renderer.sound_input.id)
        counts = {len(value) for name, value in prompt.inputs.items() if name in SOUNDS}
        if self._what.sounds and counts == {len(sounds)} and len(runs) == len(sounds):
            return [digest for digest, run in zip(digests, runs, strict=True) for _ in run], runs
        return ["+".join(digests)] * prompt.audio_tokens, [range(runs[-1].stop)]

    def _single(self, digest: str, picture: Picture, scope: str) -> ProcessedPicture:
        """Raises CallerError."""
        tokens = self._known(scope, digest)
        if tokens is not None:
            return ProcessedPicture(digest, tokens, None)
        prompt = self._loaded.renderer.pictures_prompt([picture])
        return ProcessedPicture(digest, prompt.image_tokens, prompt.inputs)


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


def _unmarked(prompt: Prompt, pictures: Sequence[Picture], sounds: Sequence[Samples]) -> bool:
    """Whether it has pictures or sounds without placeholders, or the other way round."""
    return (bool(pictures), bool(sounds)) != (bool(prompt.image_tokens), bool(prompt.audio_tokens))


def _runs(ids: Sequence[int], placeholder: int | None) -> list[range]:
    """Where the placeholder stands, each time with those that follow it at once."""
    runs = groupby(range(len(ids)), key=lambda at: ids[at] == placeholder)
    return [
        range(run[0], run[-1] + 1) for is_placeholder, each in runs if is_placeholder and (run := [*each])
    ]


def _digest_of(inputs: Mapping[str, torch.Tensor]) -> str:
    whole = hashlib.sha256()
    for name, value in inputs.items():
        whole.update(
            f"{name} {[*value.shape]} ".encode() + value.contiguous().view(torch.uint8).numpy().tobytes()
        )
    return whole.hexdigest()


def _digest(picture: Picture, file: str | None = None) -> str:
    """Of its file and the size to which it was shrunk, else of its pixels, which takes longer."""
    if file:
        return f"{file} {picture.width}x{picture.height}"
    return hashlib.sha256(b"%d %d " % picture.size + picture.tobytes()).hexdigest()
