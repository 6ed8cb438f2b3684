"""The canonical request: what every dialect translates to, what a run computes.

Two requests that ask for the same computation have one request hash (`shared.cache_key`), whatever wire they
came by. They need not be equal: fields only echoed to the caller, and where a field stood, may differ."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.variables import Variables

MOST_PICTURES = 1500
"""The highest possible `pictures.max_count`: no dialect reads more pictures than this."""
MOST_PAGES = 10_000
"""The highest possible `documents.max_pages`."""
MOST_FRAMES = 4096
"""The highest possible `videos.max_frames`."""
WHATEVER_FITS = 2**31 - 1
"""A longest answer of so many tokens is lowered to what a model's context has left."""
MAX_BIASES = 300
MAX_STOP_IDS = 64
LONGEST_NGRAM = 256
LONGEST_PATTERN = 1024
MOST_CHOICES = 8
MOST_FUNCTIONS = 128
QUESTION_BYTES = 120
"""A list of jobs shows so much of each question."""


class Frozen(BaseModel):
    """A value: immutable, unknown fields refused."""

    # Errors go to logs, which hold neither prompts nor URLs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Text(Frozen):
    type: Literal["text"] = "text"
    text: str


class Media(Frozen):
    """A picture, sound, video or document in one of four stages: bytes just received, the id of a file of the
    caller's, a URL to fetch, or a digest in the blob store.

    Only url and digest are ever serialised; `param` names where in the caller's body it stood.
    """

    digest: str | None = None
    url: str | None = None
    data: bytes | None = Field(default=None, exclude=True, repr=False)
    file: str | None = Field(default=None, exclude=True)
    param: str = Field(default="", exclude=True)


LOOK = ("min_pixels", "max_pixels", "background")
PixelCount = Annotated[int, Field(ge=1, lt=2**31)]
Background = Annotated[str, Field(pattern=r"^(black|white|gray|#[0-9a-fA-F]{6})$")]
Detail = Literal["auto", "low", "high", "original"]


class Look(Frozen):
    """How pictures are shown to a model: with how many pixels."""

    min_pixels: PixelCount | None = Field(default=None, exclude_if=lambda count: count is None)
    max_pixels: PixelCount | None = Field(default=None, exclude_if=lambda count: count is None)

    @property
    def look(self) -> dict[str, Any]:
        if self.model_fields_set.isdisjoint(LOOK):
            return {}
        return {name: value for name in LOOK if (value := getattr(self, name, None)) is not None}


class Image(Media, Look):
    """A picture. `detail` is how closely to look at it: it is echoed to the caller, no model is told.

    `background` is what shows where it is transparent, white by default.
    """

    type: Literal["image"] = "image"
    background: Background | None = Field(default=None, exclude_if=lambda colour: colour is None)
    detail: Detail = Field(default="auto", exclude=True)

    @property
    def name(self) -> str | None:
        """Of its file, on its background: with its size it says what pixels it has."""
        return self.digest and f"{self.digest} {self.background or ''}".rstrip()


class Sound(Media):
    """Something to be heard; never a file of the caller's."""

    type: Literal["audio"] = "audio"


class Document(Media):
    """Pages to be looked at, all or those of `pages` (`1-3,7`). A run has pictures of them instead."""

    type: Literal["document"] = "document"
    pages: str | None = None


class Video(Media):
    """Moving pictures, of which a model is shown some frames; what is to be heard in them is left out."""

    type: Literal["video"] = "video"


Medium: TypeAlias = Image | Sound | Document | Video
Part = Annotated[Text | Image | Sound | Document | Video, Field(discriminator="type")]
Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Frozen):
    """A function that an assistant called: `arguments` is a JSON object as text.

    `id` is the caller's name for it, which no model is shown.
    """

    id: str
    name: str
    arguments: str


class Message(Frozen):
    """One turn of the conversation. An assistant's may call functions.

    `answers` is the id of the call whose result a tool's turn tells, None if its caller named none.
    """

    role: Role
    parts: tuple[Part, ...]
    calls: tuple[ToolCall, ...] = Field(default=(), exclude_if=lambda calls: not calls)
    answers: str | None = None


class Function(Frozen):
    """What a model may call. `parameters` is a JSON Schema as text, with its keys in the caller's order.

    `strict_schema` is the one that the arguments of a call must match, None where none must.
    """

    name: str
    description: str | None = None
    parameters: str
    strict_schema: str | None = None

    @property
    def text(self) -> str:
        """All that a model that is shown it reads of it."""
        return f"{self.name} {self.description or ''} {self.parameters}"


class Tools(Frozen):
    """The functions that a model is shown. It calls some of them or answers in words.

    With `required` it has to call one, the one that is `named` where one is; without `parallel` it calls one
    at most.
    """

    functions: tuple[Function, ...] = Field(min_length=1, max_length=MOST_FUNCTIONS)
    required: bool = False
    named: str | None = None
    parallel: bool = True

    @property
    def is_constrained(self) -> bool:
        """Whether the answer has to be held to the form of a call."""
        return self.required or not self.parallel or any(f.strict_schema is not None for f in self.functions)

    @property
    def callable(self) -> tuple[Function, ...]:
        return tuple(f for f in self.functions if self.named in (None, f.name))


TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]
SORTED = AfterValidator(lambda values: tuple(sorted(values)))
Biases = Annotated[tuple[tuple[TokenId, Bias], ...], Field(max_length=MAX_BIASES), SORTED]
StopIds = Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOP_IDS), AfterValidator(set), SORTED]


class Format(Frozen):
    """What an answer must be, as text: equal wishes are equal here, whatever wire they came by.

    `content` is a JSON Schema with its keys in the caller's order, which answers follow; a regular expression
    for the whole answer; a sorted JSON list of texts to choose from; or a grammar in llguidance's Lark or in
    llama.cpp's GBNF.
    """

    kind: Literal["json", "regex", "choice", "grammar"]
    content: str


class RepetitionDetection(Frozen):
    """An answer ends once its last tokens are one pattern `min_count` times in a row (vLLM's names).

    The pattern has `min_pattern_size` to `max_pattern_size` tokens; with 0 of them nothing is looked for.
    """

    max_pattern_size: int = Field(default=0, ge=0, le=LONGEST_PATTERN)
    min_pattern_size: int = Field(default=0, ge=0)
    min_count: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_sizes(self) -> "RepetitionDetection":
        if self.min_pattern_size > self.max_pattern_size or (self.max_pattern_size and self.min_count < 2):
            raise ValueError(
                "needs a `min_count` of 2 or more, and no more as its smallest size than its largest"
            )
        return self


# The limits of single parameters, which the bodies of requests name too.
MaxTokens = Annotated[int, Field(ge=1)]
MinTokens = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0, le=100)]
Probability = Annotated[float, Field(ge=0, le=1)]
TypicalP = Annotated[float, Field(gt=0, le=1)]
RepetitionPenalty = Annotated[float, Field(ge=0.01, le=100)]
TokenPenalty = Annotated[float, Field(ge=-2, le=2)]
NgramSize = Annotated[int, Field(ge=0, le=LONGEST_NGRAM)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Choices = Annotated[int, Field(ge=1, le=MOST_CHOICES)]
FrameCount = Annotated[int, Field(ge=1, le=MOST_FRAMES)]
FrameRate = Annotated[float, Field(gt=0, le=240)]


class Parameters(Look):
    """What changes the answer. None = left out: the model's own generation config decides.

    `logprobs` is how many of the likeliest tokens are told beside each of the answer's; None tells none. `n`
    is how many answers are wanted; None for one. No `no_repeat_ngram_size` tokens come twice in prompt and
    answer; 0 lets all. With `ignore_eos` the model's own end tokens end none;
    without `skip_special_tokens` (False) special tokens are part of the text.
    `chat_template_kwargs` are variables of the model's chat template, where it reads them. `num_frames` or
    `fps` is how many frames a model is shown of each video, or of each of its seconds. Without
    `include_reasoning` (False) the answer's thoughts are told to nobody.
    """

    max_new_tokens: MaxTokens | None = None
    min_new_tokens: MinTokens | None = None
    do_sample: bool | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: int | None = Field(default=None, ge=0)
    min_p: Probability | None = None
    typical_p: TypicalP | None = None
    repetition_penalty: RepetitionPenalty | None = None
    frequency_penalty: TokenPenalty | None = None
    presence_penalty: TokenPenalty | None = None
    no_repeat_ngram_size: NgramSize | None = None
    logit_bias: Biases | None = None
    seed: Seed | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: StopIds | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    format: Format | None = None
    n: Choices | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    chat_template_kwargs: Variables | None = None
    num_frames: FrameCount | None = None
    fps: FrameRate | None = None
    repetition_detection: RepetitionDetection | None = None
    include_reasoning: bool | None = None

    def of_choice(self, number: int) -> "Parameters":
        """Those of one of the answers: the first has the caller's own seed, as if it were the only one."""
        if self.seed is None or not number:
            return self
        dice = hashlib.sha256(f"{self.seed} {number}".encode("ascii")).digest()
        return self.model_copy(update={"seed": int.from_bytes(dice[:8], signed=True)})

    def samples(self, model_default: bool) -> bool:
        """Whether tokens are drawn at random; `model_default` is the generation config's do_sample.

        top_p and top_k alone do not turn a greedy model into one that draws.
        """
        if self.do_sample is not None:
            return self.do_sample and self.temperature != 0
        if self.temperature is not None:
            return self.temperature > 0
        return model_default

    def rows(self, model_default: bool) -> int:
        """How many its answers take: one for each, and one for all where nothing is drawn."""
        return self.n if self.n and self.samples(model_default) else 1


class Request(Frozen):
    """A question about zero or more pictures, sounds and videos, addressed to one model.

    `continue_final` extends the final assistant message instead of answering it. `unshown` are functions that
    their caller is told again and no model is shown, None where none were kept back. `named` says where in
    the caller's body `messages` and the parameters stood, where not under these names ("" for the body
    itself). Neither is ever serialised.
    """

    model: str
    messages: tuple[Message, ...] = Field(min_length=1)
    parameters: Parameters = Parameters()
    tools: Tools | None = None
    continue_final: bool = False
    unshown: tuple[Function, ...] | None = Field(default=None, exclude=True)
    named: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def texts(self) -> Iterator[str]:
        """All that a model reads of it, without its media."""
        for message in self.messages:
            yield from (part.text for part in message.parts if isinstance(part, Text))
            yield from (f"{call.name} {call.arguments}" for call in message.calls)
        for function in self.tools.functions if self.tools else ():
            yield function.text

    @property
    def question(self) -> str:
        """The beginning of what its user asked last, in one line of `QUESTION_BYTES` at most."""
        turn = next((m for m in reversed(self.messages) if m.role == "user"), self.messages[-1])
        text = " ".join(part.text[: 2 * QUESTION_BYTES] for part in turn.parts if isinstance(part, Text))
        line = " ".join(text.split()).encode()
        if len(line) > QUESTION_BYTES:
            return line[: QUESTION_BYTES - len("…".encode())].decode(errors="ignore") + "…"
        return line.decode()

    @property
    def ends_open(self) -> bool:
        """Whether the answer continues the last message instead of answering it."""
        return self.continue_final and self.messages[-1].role == "assistant"

    @property
    def media(self) -> tuple[Medium, ...]:
        """Every picture, sound, document and video in reading order."""
        return tuple(p for m in self.messages for p in m.parts if isinstance(p, Media))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(p for p in self.media if isinstance(p, Image))

    @property
    def shown(self) -> tuple[Image, ...]:
        """Every picture with how it is shown: what the request says holds where the picture says nothing."""
        look = self.parameters.look
        return tuple(i.model_copy(update=look | i.look) for i in self.images) if look else self.images

    @property
    def sounds(self) -> tuple[Sound, ...]:
        return tuple(p for p in self.media if isinstance(p, Sound))

    @property
    def documents(self) -> tuple[Document, ...]:
        return tuple(p for p in self.media if isinstance(p, Document))

    @property
    def videos(self) -> tuple[Video, ...]:
        return tuple(p for p in self.media if isinstance(p, Video))

    @property
    def places(self) -> tuple[str, ...]:
        """How errors name what is in `media`: `images[0]`, `sounds[0]`, `images[1]` …"""
        counts = {kind: count() for kind in KINDS}
        return tuple(f"{KINDS[type(p)]}[{next(counts[type(p)])}]" for p in self.media)

    @property
    def paths(self) -> dict[str, str]:
        """The caller's name for each place in the request that a worker's error may name."""
        media = self.media
        if not media:
            return self.named
        named = {at: part.param for at, part in zip(self.places, media, strict=True)}
        if self.documents:
            # The pages to come move the places of the pictures behind them.
            named = {at: param for at, param in named.items() if not at.startswith(KINDS[Image])}
        return self.named | named

    @property
    def digests(self) -> tuple[str, ...]:
        """What of it is in the blob store, each once."""
        return tuple(dict.fromkeys(p.digest for p in self.media if p.digest))

    def for_model(self, id: str) -> "Request":
        return self if self.model == id else self.model_copy(update={"model": id})

    def without_bytes(self) -> "Request":
        """The same request for whoever goes on with it once the bytes that came with it are stored."""
        media = self.media
        if not media:
            return self
        return self.with_media(tuple(part.model_copy(update={"data": None}) for part in media))

    def with_media(self, media: Iterable[Medium | tuple[Medium, ...]]) -> "Request":
        """The same request with its media replaced in reading order, a document by its pages."""
        remaining = iter(media)

        def parts(message: Message) -> Iterator[Part]:
            for part in message.parts:
                replaced = next(remaining) if isinstance(part, Media) else part
                if isinstance(part, Image) and isinstance(replaced, Image) and part.look:
                    replaced = replaced.model_copy(update=part.look)
                yield from replaced if isinstance(replaced, tuple) else (replaced,)

        messages = tuple(
            m.model_copy(update={"parts": tuple(parts(m))})
            if any(isinstance(p, Media) for p in m.parts)
            else m
            for m in self.messages
        )
        return self.model_copy(update={"messages": messages})


KINDS: dict[type[Media], str] = {
    Image: "images",
    Sound: "sounds",
    Document: "documents",
    Video: "videos",
}
