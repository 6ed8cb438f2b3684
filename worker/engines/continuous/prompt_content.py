"""What a prompt says and shows, token by token, so that a later prompt can be compared with it for reuse.

A picture, a sound or a video is a mark on each of its placeholders: its digest, and where in it the
placeholder stands. So what is kept of a prompt's beginning is found again only where all that it showed is
the same.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise, zip_longest
from typing import Any

import torch
from PIL.Image import Image as Picture

from worker.engines.base import Images, Prompt, Scope, Sounds, Videos
from worker.engines.continuous.prefill import PIXELS, CutPoints
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.transformers_internals import encodes_first

# Beginnings shorter than this take longer to copy than to compute.
FEWEST = 8
# Of the inputs that hold media the ones of sounds, which generate() leaves to the model.
SOUNDS = frozenset(name for name in PIXELS if name.startswith(("input_features", "input_values")))
SHOWN = PIXELS - SOUNDS

Mark = int | tuple[str, int]
"""A token of a prompt: its id, or for a placeholder its medium's name and its index within that medium."""


@dataclass(frozen=True)
class Reusable:
    """What later requests may reuse of a request; `verify` finds it out.

    `beginnings` of prompts with their answers; `apart`: several pictures are told apart, so that a chat goes
    on where one more is shown; `sounds`: a prompt may be continued between its sounds; `videos`: also of
    prompts with videos. `flaw` says why something is not reused.
    """

    beginnings: bool = False
    apart: bool = False
    sounds: bool = False
    videos: bool = False
    flaw: str = ""

    @property
    def words(self) -> str:
        why = f" ({self.flaw})" if self.flaw else ""
        return f"reuses {'beginnings of prompts' if self.beginnings else 'nothing'}{why}"


@dataclass(frozen=True)
class PromptContent:
    """A prompt as this engine takes it; `inputs` are the processor's, for the whole prompt.

    Without `marks` nothing of it is reused. `pictures` are the placeholders of each picture and the pieces
    that it became, where these can be told. A cut within one of `whole` would lose what it shows.
    """

    inputs: Any
    scope: str = ""
    marks: tuple[Mark, ...] = ()
    pictures: Sequence[tuple[int, int]] = ()
    places: Sequence[int] = ()
    sounds: Sequence[range] = ()
    whole: Sequence[range] = ()

    @property
    def pause(self) -> int:
        """Behind how many tokens a recurrent state is worth keeping: those up to the last picture."""
        return self.places[-1] + 1 if self.marks and self.places else 0

    def behind(self, start: int) -> dict[str, Any]:
        """The inputs without media whose placeholders are all among the first `start` tokens."""
        heard = sum(sound.stop <= start for sound in self.sounds)
        seen = not self.places or self.places[-1] < start
        known = (SHOWN if seen else frozenset()) | (SOUNDS if heard == len(self.sounds) else frozenset())
        rest = {name: value for name, value in self.inputs.items() if name not in known}
        return rest | {name: value[heard:] for name, value in rest.items() if heard and name in SOUNDS}

    def unknown(self, start: int, names: Iterable[str]) -> tuple[dict[str, torch.Tensor], int]:
        """The encoder's inputs, of these `names`, for the pictures that do not end within the first `start`
        tokens, and the placeholders of the others; nothing where these are none, or cannot be told apart.
        """
        ends = [0, *accumulate(tokens for tokens, _ in self.pictures)]
        known = sum(self.places[end - 1] < start for end in ends[1:])
        pieces = [count for _, count in self.pictures]
        # Some inputs have a row for each picture, others one for each of its pieces.
        behind = {len(pieces): known, sum(pieces): sum(pieces[:known])}
        own = {name: self.inputs[name] for name in names if name in self.inputs}
        told = all(torch.is_tensor(value) and value.ndim and len(value) in behind for value in own.values())
        if not (own and told and 0 < known < len(pieces)):
            return {}, 0
        return {name: value[behind[len(value)] :] for name, value in own.items()}, ends[known]

    def cuts(self, cut_points: CutPoints) -> Callable[[int], bool]:
        """A function that tells whether the prompt may be continued after so many of its tokens.

        `cut_points` are those of a model whose prompts can be cut.
        """
        inside = [isinstance(one, tuple) and isinstance(two, tuple) for one, two in pairwise(self.marks)]

        def allows(at: int) -> bool:
            if (at < FEWEST and at != self.pause) or any(one.start < at < one.stop for one in self.whole):
                return False
            return cut_points is CutPoints.ANYWHERE or not inside[at - 1]

        return allows


class ContentReader:
    """Safe to use from several threads."""

    def __init__(self, loaded: LoadedModel, reusable: Reusable) -> None:
        self._loaded, self._what = loaded, reusable
        self._encodes = encoder_inputs(loaded.network)

    def content(
        self,
        prompt: Prompt,
        pictures: Images,
        scope: Scope,
        sounds: Sounds = (),
        videos: Videos = (),
        files: Sequence[str | None] = (),
    ) -> PromptContent:
        """`files` are the digests of the pictures' files, where they are known."""
        media = bool(pictures or videos), bool(sounds)
        unmarked = media != (bool(prompt.image_tokens), bool(prompt.audio_tokens))
        if scope is None or unmarked or not self._what.beginnings or (videos and not self._what.videos):
            return PromptContent(prompt.inputs, scope or "")
        ids, renderer = prompt.inputs["input_ids"][0].tolist(), self._loaded.renderer
        shown = [_digest(*one) for one in zip_longest(pictures, files)]
        filmed = [_digest_of(repr(video).encode(), video.pixels) for video in videos]
        pieces = renderer.picture_pieces([picture.size for picture in pictures])
        counts = self._picture_tokens(prompt, ids, pieces) if not videos else []
        runs = _runs(ids, renderer.sound_input.id) if sounds else []
        named = {
            renderer.video_input.id: _owners([*shown, *filmed], []),
            renderer.image_id: _owners([*shown, *filmed], counts if self._what.apart else []),
            renderer.sound_input.id: self._sound_owners(prompt, sounds, runs),
        }
        places = [at for at, id_ in enumerate(ids) if id_ in (renderer.image_id, renderer.video_input.id)]
        parts = self._encodes and self._what.apart
        whole = [range(places[-1] + 1)] if places and not parts else []
        prefix = [range(runs[-1].stop)] if runs else []
        return PromptContent(
            inputs=prompt.inputs,
            scope=scope,
            marks=_marks(ids, named),
            pictures=list(zip(counts, pieces, strict=True)) if counts and self._what.apart else (),
            places=places,
            sounds=runs,
            whole=[*whole, *(runs if self._apart(prompt, sounds, runs) else prefix)],
        )

    def _picture_tokens(self, prompt: Prompt, ids: Sequence[int], pieces: Sequence[int]) -> list[int]:
        """The placeholders of each picture; empty where neither the processor nor what is between says it."""
        renderer = self._loaded.renderer
        runs = [len(run) for run in _runs(ids, renderer.image_id)]
        counted = renderer.picture_token_counts(prompt.inputs, len(pieces))
        counts = (counted, _sums(runs, [1] * len(pieces)), _sums(runs, pieces), [prompt.image_tokens])
        fitting = (one for one in counts if len(one) == len(pieces) and sum(one) == prompt.image_tokens)
        return next(fitting, [])

    def _apart(self, prompt: Prompt, sounds: Sounds, runs: Sequence[range]) -> bool:
        """Whether the model can be given some of the sounds."""
        counts = {len(value) for name, value in prompt.inputs.items() if name in SOUNDS}
        return self._what.sounds and counts == {len(sounds)} and len(runs) == len(sounds)

    def _sound_owners(self, prompt: Prompt, sounds: Sounds, runs: Sequence[range]) -> Iterator[str]:
        digests = [_digest_of(bytes(sound)) for sound in sounds]
        apart = self._apart(prompt, sounds, runs)
        return _owners(digests, [len(run) for run in runs] if apart else [])


def encoder_inputs(network: Any) -> frozenset[str]:
    """Names of the picture encoder's inputs; none if `generate()` leaves the encoding to the model."""
    encoder = getattr(network.base_model, "get_image_features", None)
    if encoder is None or not encodes_first(network):
        return frozenset()
    return frozenset(inspect.signature(encoder).parameters)


def _owners(digests: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    """For each placeholder the medium that it stands for; all of them where they are not told apart."""
    if len(counts) == len(digests) > 0:
        for digest, count in zip(digests, counts, strict=True):
            yield from [f"{digest}*{count}"] * count
        return
    while True:
        yield "+".join(digests)


def _marks(ids: Sequence[int], owners: Mapping[int | None, Iterator[str]]) -> tuple[Mark, ...]:
    """Adjacent placeholders are named after all of their media, in order: a model whose attention is
    bidirectional in a picture may look from one picture into the next. Others are counted on through the
    prompt.
    """
    marks, counted = list[Mark](), dict[str, int]()
    for id_, run in groupby(ids):
        if id_ not in owners:
            marks += run
            continue
        named = [next(owners[id_]) for _ in run]
        name = " ".join(f"{owner}*{len([*same])}" for owner, same in groupby(named))
        first = counted.get(name, 0)
        counted[name] = first + len(named)
        marks += [(name, first + at) for at in range(len(named))]
    return tuple(marks)


def _runs(ids: Sequence[int], placeholder: int | None) -> list[range]:
    """Where the placeholder stands, each time with those that follow it at once."""
    runs = groupby(range(len(ids)), key=lambda at: ids[at] == placeholder)
    return [
        range(run[0], run[-1] + 1) for is_placeholder, each in runs if is_placeholder and (run := [*each])
    ]


def _sums(runs: Sequence[int], parts: Sequence[int]) -> list[int]:
    """Of so many adjacent ones each; empty if they are not as many."""
    ends = [0, *accumulate(parts)]
    return [sum(runs[start:end]) for start, end in pairwise(ends)] if ends[-1] == len(runs) else []


def _digest(picture: Picture, file: str | None = None) -> str:
    """Of its file and the size to which it was shrunk, else of its pixels, which takes longer."""
    size = f"{picture.width}x{picture.height}"
    return f"{file} {size}" if file else _digest_of(size.encode(), picture.tobytes())


def _digest_of(*parts: bytes | bytearray) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d " % len(part))
        whole.update(part)
    return whole.hexdigest()
