"""The canonical request: what every dialect translates to, what a run computes.

Two requests that ask for the same computation are equal here whatever wire they came by, so they share
one request hash (`shared.hashing`).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_PICTURES = 256
"""No installation's `pictures.max_count` is higher, so no dialect reads on behind as many."""
MAX_BIASES = 300
MAX_STOP_IDS = 64


class Frozen(BaseModel):
    """A value: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Frozen):
    """A piece of text as the caller typed it."""

    type: Literal["text"] = "text"
    text: str


class Image(Frozen):
    """A picture in one of three stages: bytes just received, a URL to fetch, or a digest in the blob store.

    Only url and digest are ever serialised; `param` names where in the caller's body the picture stood.
    """

    type: Literal["image"] = "image"
    digest: str | None = None
    url: str | None = None
    data: bytes | None = Field(default=None, exclude=True, repr=False)
    param: str = Field(default="", exclude=True)


Part = Annotated[Text | Image, Field(discriminator="type")]
Role = Literal["system", "user", "assistant"]


class Message(Frozen):
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]


def _by_id(biases: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(biases))


def _each_once(ids: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))


TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Biases = Annotated[tuple[tuple[TokenId, Bias], ...], Field(max_length=MAX_BIASES), AfterValidator(_by_id)]
StopIds = Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOP_IDS), AfterValidator(_each_once)]


class Format(Frozen):
    """What an answer must be, as text: equal wishes are equal here, whatever wire they came by.

    `content` is a JSON Schema with its keys in the caller's order, which answers follow; a regular expression
    for the whole answer; or a sorted JSON list of texts to choose from.
    """

    kind: Literal["json", "regex", "choice"]
    content: str


class Parameters(Frozen):
    """What changes the answer. None = left out: the model's own generation config decides.

    `logprobs` is how many of the likeliest tokens are told beside each of the answer's; None tells none.
    """

    max_new_tokens: int | None = Field(default=None, ge=1)
    min_new_tokens: int | None = Field(default=None, ge=0)
    do_sample: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: Biases | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: tuple[str, ...] = ()
    stop_token_ids: StopIds | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    format: Format | None = None

    def samples(self, model_default: bool) -> bool:
        """Whether tokens are drawn at random; `model_default` is the generation config's do_sample.

        top_p and top_k alone do not turn a greedy model into one that draws.
        """
        if self.do_sample is not None:
            return self.do_sample and self.temperature != 0
        if self.temperature is not None:
            return self.temperature > 0
        return model_default


class Request(Frozen):
    """A question about zero or more pictures, addressed to one model.

    `raw` sends the text to the model without its chat template (models that have none).
    `continue_final` extends the final assistant message instead of answering it. `named` says where in the
    caller's body `messages` and the parameters stood, where not under these names ("" for the body itself);
    it is never serialised.
    """

    model: str
    messages: tuple[Message, ...] = Field(min_length=1)
    parameters: Parameters = Parameters()
    continue_final: bool = False
    raw: bool = False
    named: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def images(self) -> tuple[Image, ...]:
        """Every picture in reading order."""
        return tuple(p for m in self.messages for p in m.parts if isinstance(p, Image))

    @property
    def digests(self) -> tuple[str, ...]:
        """The pictures that are in the blob store, each once."""
        return tuple(dict.fromkeys(i.digest for i in self.images if i.digest))

    def with_images(self, images: tuple[Image, ...]) -> "Request":
        """The same request with its pictures replaced, in reading order (same count)."""
        left = iter(images)
        messages = tuple(
            m.model_copy(update={"parts": tuple(next(left) if isinstance(p, Image) else p for p in m.parts)})
            for m in self.messages
        )
        return self.model_copy(update={"messages": messages})
