"""How many tokens a prompt has, computed without its model by a rule that a worker measured.

Only a worker has the tokenizer, the template and the image processor. Once they are loaded it renders some
questions (`worker/token_calibration.py`) and publishes what it measured as a rule."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Literal

from pydantic_core import from_json, to_json

from shared.errors import ServiceError
from shared.job import CacheWord, Estimate, WaitingReason
from shared.media.sizes import Size
from shared.models import Model
from shared.request import Document, Image, Media, Request, Sound, Video
from shared.result import SeenPicture

# What a request costs its caller in line: an estimate in answer tokens, known before anything is computed.
#
# Decoding one token takes about as long as reading ten of a prompt, or as unpacking fifty thousand pixels. A
# picture or ten seconds of sound read as some hundred tokens, a video as some thousand, and an answer is
# taken to be as long as its caller allows. Only ratios matter.

BYTES_PER_TOKEN = 4
TOKENS_PER_PICTURE = 256
TOKENS_PER_SOUND = 256
TOKENS_PER_VIDEO = 4096
TOKENS: dict[type[Media], int] = {
    Image: TOKENS_PER_PICTURE,
    # Until it is fetched nobody knows how many pages it has; then it has pictures of them.
    Document: TOKENS_PER_PICTURE,
    Sound: TOKENS_PER_SOUND,
    Video: TOKENS_PER_VIDEO,
}
LONGEST_CONTEXT = 10**7
UNKNOWN_CONTEXT = 2**17
"""Where an answer may have more tokens than any model's context, whose length is not known yet."""
READ_PER_DECODED = 10
PIXELS_PER_DECODED = 50_000


def cost(request: Request, model: Model, pixels: int) -> int:
    """At least 1. The prompt is read once for all answers that are wanted.

    `pixels` are those of all pictures whose sizes are known without reading any from the store.
    """
    text = sum(len(text.encode()) for text in request.texts)
    media_tokens = sum(TOKENS[type(part)] for part in request.media)
    read = text / BYTES_PER_TOKEN + media_tokens
    prepared = round(read / READ_PER_DECODED + pixels / PIXELS_PER_DECODED)
    return max(1, prepared + answer_tokens(request, model))


def answer_tokens(request: Request, model: Model) -> int:
    """The most tokens that all wanted answers may have together."""
    parameters = request.parameters
    each = parameters.max_new_tokens or max(model.max_new_tokens, parameters.min_new_tokens or 0)
    # Admission has lowered it to the context, where that is known.
    return (UNKNOWN_CONTEXT if each > LONGEST_CONTEXT else each) * (parameters.n or 1)


BYTES_PER_ANSWERED = 90
"""Of a token in a run's stream and in its answer, where each is a piece of its own, as of a slow model."""
BYTES_PER_CANDIDATE = 120
"""Of a token's likelihood, in the stream and in the answer."""
BYTES_PER_ANSWER = 2048
"""Of an answer of no token, with what it was made of."""


def room(request: Request, model: Model) -> int:
    """The bytes that the answers to a request may take in the record store with their events."""
    candidates = request.parameters.logprobs
    likelihoods = 0 if candidates is None else (candidates + 1) * BYTES_PER_CANDIDATE
    return BYTES_PER_ANSWER + answer_tokens(request, model) * (BYTES_PER_ANSWERED + likelihoods)


@dataclass(frozen=True)
class TokenRule:
    """A question has `template` tokens around its text, each further turn `turn`, and the text one for each
    `bytes_per_token`.

    `pictures` are the tokens of a picture by its sides: a row and a column for each of `sides` (pixels).
    Between these they are interpolated, which is exact where tokens follow the area. A single row holds for
    every picture; without rows the model takes none. `seen` are the sizes that it sees, likewise; without
    rows the pictures' own. `sound` is what every sound has beside its length, and what each second adds; None
    where nobody measured it.
    """

    bytes_per_token: float
    template: float
    turn: float
    sides: tuple[int, ...]
    pictures: tuple[tuple[int, ...], ...]
    sound: tuple[float, float] | None = None
    seen: tuple[tuple[Size, ...], ...] = ()

    def text(self, request: Request) -> int:
        """Tokens of everything but pictures and sounds."""
        size = sum(len(text.encode()) for text in request.texts)
        turns = self.turn * (len(request.messages) - 1)
        return max(1, round(self.template + turns + size / self.bytes_per_token))

    def picture(self, width: int, height: int) -> int:
        return self._at(self.pictures, width, height) if self.pictures else 0

    def seen_picture(self, size: Size, tokens: int) -> SeenPicture:
        """About the size in which the model sees a picture."""
        width, height = size
        if self.seen:
            wide, high = ([[cell[axis] for cell in row] for row in self.seen] for axis in (0, 1))
            width, height = self._at(wide, *size), self._at(high, *size)
        return SeenPicture(width=width, height=height, tokens=tokens)

    def _at(self, table: Sequence[Sequence[int]], width: int, height: int) -> int:
        if len(table) < 2:
            return table[0][0]
        # Workers shrink pictures to the last of the sides.
        shrink = min(1.0, self.sides[-1] / max(width, height))
        column = [_between(self.sides, row, height * shrink) for row in table]
        return round(_between(self.sides, column, width * shrink))

    def of_sound(self, seconds: float) -> int:
        """Tokens of a sound that long."""
        each, second = self.sound or (TOKENS_PER_SOUND, 0)
        return round(each + second * seconds)

    def dumped(self) -> str:
        return to_json(asdict(self)).decode()


GUESS = TokenRule(BYTES_PER_TOKEN, 0, 0, (), ((TOKENS_PER_PICTURE,),))
"""Used until a worker has measured its model."""


def rule_of(published: str | None) -> TokenRule | None:
    """What a worker published, without what a newer release adds; None where it published nothing."""
    if not published:
        return None
    rule = from_json(published)
    # A worker of an older release says nothing of sounds.
    sound = tuple(rule["sound"]) if rule.get("sound") else None
    tables = {"sides": tuple(rule["sides"]), "pictures": tuple(map(tuple, rule["pictures"])), "sound": sound}
    tables["seen"] = tuple(tuple(map(tuple, row)) for row in rule.get("seen", ()))
    return TokenRule(**{part.name: rule.get(part.name) for part in fields(TokenRule)} | tables)


@dataclass(frozen=True)
class Tokens:
    """A prompt's token counts. `prompt` includes `image`, the sum of `pictures`, which has them in order; all
    are None while the sizes of its pictures are unknown, and for videos, which only a decoder measures;
    `prompt` is while the lengths of its sounds are.

    `basis` is measured or guess.
    """

    prompt: int | None
    pictures: tuple[int, ...] | None
    basis: str
    seen: tuple[SeenPicture, ...] = ()

    @property
    def image(self) -> int | None:
        return None if self.pictures is None else sum(self.pictures)


def estimate_tokens(
    request: Request,
    sizes: Sequence[Size],
    rule: TokenRule | None,
    seconds: Sequence[float] = (),
) -> Tokens:
    """`sizes` are width and height of its pictures, `seconds` the lengths of its sounds, as far as they are
    known.
    """
    used = rule or GUESS
    basis = "measured" if rule and (rule.sound or not request.sounds) else "guess"
    if len(sizes) < len(request.images) or request.documents or request.videos:
        return Tokens(None, None, basis)
    pictures = tuple(used.picture(*size) for size in sizes)
    seen = tuple(map(used.seen_picture, sizes, pictures))
    if len(seconds) < len(request.sounds):
        return Tokens(None, pictures, basis, seen)
    prompt = used.text(request) + sum(pictures) + sum(map(used.of_sound, seconds))
    return Tokens(prompt, pictures, basis, seen)


def _between(places: Sequence[int], values: Sequence[float], at: float) -> float:
    """The value at a place, interpolated linearly between known ones; outside of them the nearest."""
    upper = bisect_right(places, at)
    if upper == 0 or upper == len(places):
        return values[0 if upper == 0 else -1]
    (low, first), (high, second) = list(pairwise(zip(places, values, strict=True)))[upper - 1]
    return first + (second - first) * (at - low) / (high - low)


# What would become of a request, were it submitted now.

Outcome = Literal["cached", "joined", "queued", "refused"]


@dataclass(frozen=True)
class TokenForecast:
    """`cache` is what the job would show, None where its inputs must be fetched first.

    `answer_tokens` is the most that the answers may have together; prompt and answer have to fit into
    `context_length`, where that is known. `cost` is what a new run costs its caller (`shared/tokens.py`).
    """

    model: str
    outcome: Outcome
    tokens: Tokens
    answer_tokens: int
    cost: int
    context_length: int | None = None
    cache: CacheWord | None = None
    waiting_reason: WaitingReason | None = None
    ahead: int | None = None
    estimate: Estimate | None = None
    refusal: ServiceError | None = None
