"""Made-up requests that a model is tried with at load, and what `generate()` answers to each by itself."""

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as Pictures
from PIL.Image import Image as Picture
from transformers import GenerationConfig

from shared.errors import CallerError
from shared.request import Image, Message, Request, Sound, Text, Video
from worker.engines.base import Frames, Images, Prompt, Samples, Sounds, Videos
from worker.engines.continuous.kv_cache import BatchingError
from worker.engines.loading.loaded import LoadedModel

# For each request the turn at which it joins, its pictures, its words and the tokens of its answer; chosen so
# that rows of all lengths leave from all places.
PLAN = ((0, 1, 9, 9), (1, 0, 3, 5), (3, 2, 5, 8), (4, 1, 30, 3), (6, 0, 16, 6))

# The same of a request with a video.
MOVING = (2, 4, 7)

Part = int | str | float | Frames
"""A picture's number, a text, a sound's seconds, or a video."""


@dataclass(frozen=True)
class VerifyQuestion:
    """A made-up request with its prompt and what it shows; `turns` are what it was made from."""

    turns: Sequence[Sequence[Part]]
    prompt: Prompt
    pictures: Images
    sounds: Sounds = ()
    videos: Videos = ()


@dataclass(eq=False)
class VerifyCase:
    """One made-up request, its answer by itself, and how many tokens it was `fed` in the batch so far.

    `middle` is where cutting the prompt would do most harm: inside its pictures.
    """

    asked: VerifyQuestion
    turn: int
    inputs: dict[str, Any]
    config: GenerationConfig
    tokens: list[int]
    logits: list[torch.Tensor]
    middle: int
    fed: int = 0


def cases(loaded: LoadedModel) -> list[VerifyCase]:
    """The cases of PLAN that fit the model. Raises BatchingError if fewer than two do."""
    made, why = list[VerifyCase](), "they are longer than its context_length"
    for number, (turn, pictures, words, tokens) in enumerate(PLAN):
        try:
            question = _with_pictures(loaded, number, pictures, words)
        except CallerError as error:
            why = error.message
            continue
        if question.prompt.tokens + tokens <= loaded.facts.context_length:
            made.append(alone(loaded, question, tokens, turn))
    if len(made) < 2:
        raise BatchingError(f"no requests to try it with could be made: {why}")
    return made + _moving(loaded)


def _moving(loaded: LoadedModel) -> list[VerifyCase]:
    """A case with a video, where the model takes them and this one fits."""
    turn, count, tokens = MOVING
    made = list[VerifyCase]()

    def answer(pictures: int) -> None:
        video = loaded.renderer.video_input.made_up()
        question = ask(loaded, [*range(pictures), video, words(len(PLAN), count)])
        if question.prompt.tokens + tokens <= loaded.facts.context_length:
            made.append(alone(loaded, question, tokens, turn))

    loaded.try_videos(answer)
    return made[:1]


def unseen(loaded: LoadedModel, made: Sequence[VerifyCase]) -> str:
    """Why none of the cases has a picture; "" if one has."""
    if any(case.asked.pictures for case in made):
        return ""
    try:
        ask(loaded, [0, words(0, 1)])
    except CallerError as error:
        return error.message
    return "it is longer than its context_length"


def ask(loaded: LoadedModel, *turns: Sequence[Part]) -> VerifyQuestion:
    """Make a chat of these turns, the caller's first. Raises CallerError."""
    roles = ("user", "assistant")
    messages = [Message(role=roles[at % 2], parts=tuple(map(_part, turn))) for at, turn in enumerate(turns)]
    parts, rate = [part for turn in turns for part in turn], loaded.renderer.sound_input.rate
    pictures = [_picture(part) for part in parts if isinstance(part, int)]
    sounds = [_sound(part, rate) for part in parts if isinstance(part, float)]
    videos = [part for part in parts if isinstance(part, Frames)]
    request = Request(model=loaded.model.id, messages=tuple(messages))
    prompt = loaded.renderer.prompt(request, pictures, sounds, videos)
    return VerifyQuestion(turns, prompt, pictures, sounds, videos)


def words(number: int, count: int) -> str:
    return " ".join(f"{number * 7 + index}" for index in range(count))


def alone(loaded: LoadedModel, question: VerifyQuestion, tokens: int, turn: int = 0) -> VerifyCase:
    """Let `generate()` answer a request by itself, greedily, with exactly `tokens` tokens."""
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=tokens,
        # Suppressing the end tokens would contradict a config that forces one.
        min_new_tokens=tokens,
        do_sample=False,
        num_beams=1,
        return_dict_in_generate=True,
        output_logits=True,
    )
    inputs = loaded.moved(question.prompt.inputs)
    answer = loaded.network.generate(**inputs, generation_config=config)
    ids = answer.sequences[0, question.prompt.tokens :].tolist()
    logits = [logits[0] for logits in answer.logits]
    return VerifyCase(
        question, turn, inputs, config, ids, logits, _middle(loaded, inputs["input_ids"][0].tolist())
    )


def _with_pictures(loaded: LoadedModel, number: int, pictures: int, count: int) -> VerifyQuestion:
    """Ask with as many of the pictures as the model's processor accepts. Raises CallerError."""
    try:
        return ask(loaded, [*range(number, number + pictures), words(number, count)])
    except CallerError:
        if not pictures:
            raise
        return _with_pictures(loaded, number, pictures - 1, count)


def _part(part: Part) -> Image | Sound | Text | Video:
    if isinstance(part, str):
        return Text(text=part)
    if isinstance(part, Frames):
        return Video()
    return Image() if isinstance(part, int) else Sound()


def _picture(number: int) -> Picture:
    picture = Pictures.linear_gradient("L").resize((96 + 32 * number, 96))
    return Pictures.merge(
        "RGB", (picture, picture.rotate(90 * number), picture.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT))
    )


def _sound(seconds: float, rate: int) -> Samples:
    noise = random.Random(seconds)  # noqa: S311 - nobody is to be kept from guessing it
    return array("f", (noise.uniform(-0.5, 0.5) for _ in range(int(seconds * rate))))


def _middle(loaded: LoadedModel, ids: list[int]) -> int:
    pictures = [at for at, id_ in enumerate(ids) if id_ in loaded.renderer.placeholder_ids]
    return max(1, pictures[len(pictures) // 2] if pictures else len(ids) // 2)


# Logits may differ by this part of the largest one, as they do when sums are rounded in another order. In
# float32 they did by 1e-6 in most of 17 families and by 2e-5 in the worst, Gemma 4; by 2e-4 and more where
# rows were let see a column that is not theirs, or keys and values were rounded to bfloat16.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Computing a prompt in chunks must differ less than that: a picture cut in two may show in few logits only.
CHUNKS = 0.5
# Tokens whose logits are farther behind the best one are hardly ever chosen: a bias, a format or a great
# temperature must ask for it. How far they are says nothing, and a model may hide them with whatever it
# likes: Chameleon does with its format's least number.
FARTHEST = 100.0


class LogitsComparison:
    def __init__(self, dtype: torch.dtype) -> None:
        self.worst = 0.0
        self._exact = dtype is torch.float32
        self._tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])

    def sharpen(self) -> None:
        """From now on allow little more than the largest difference seen in the batch."""
        self._tolerance = max(CHUNKS * self._tolerance, 2 * self.worst)

    def compare(self, got: torch.Tensor, alone: torch.Tensor, otherwise: str) -> None:
        """Raises BatchingError where they differ: `otherwise`, and by how much: it may be rounding."""
        # In a short format `least` would be rounded, and hidden tokens differ by that.
        got, alone = got.flatten().float(), alone.flatten().float()
        if not bool(torch.isfinite(alone.max())):
            raise BatchingError("alone its logits are no finite numbers")
        least = float(alone.max()) - FARTHEST
        scale = max(float(alone[alone >= least].abs().max()), 1e-9)
        difference = float((got.clamp(min=least) - alone.clamp(min=least)).abs().max()) / scale
        if not difference <= self._tolerance:
            raise BatchingError(
                f"{otherwise}: they differ by {difference:.1e}, {self._tolerance:.1e} is allowed"
            )
        self.worst = max(self.worst, difference)
        if self._exact and bool(got.argmax() != alone.argmax()):
            raise BatchingError(f"{otherwise}: another token is the most probable")
