"""Reads conversations as every API writes them: turns of text, pictures and sounds, in the caller's order."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from api.dialects.calls import check_id, to_calls
from api.dialects.media import image, sound
from api.dialects.strict_json import Replayed, invalid, read, unknown, unsupported, unsupported_kind
from shared.errors import CallerError
from shared.request import Detail, Image, Message, Part, Role, Sound, Text

CAPTION = "Describe the image."

PART_FIELDS = {
    "text": ("text",),
    "input_text": ("text",),
    "refusal": ("refusal",),
    "image_url": ("image_url",),
    "input_image": ("image_url", "file_id"),
    "image_file": ("image_file",),
    "image": ("image", "url", "file_id"),
    "input_audio": ("input_audio",),
    "audio": ("audio", "url"),
    "audio_url": ("audio_url",),
}
COPIED = ("role", "annotations", "reasoning", "reasoning_content", "tool_calls")
"""Fields that the JavaScript Agents SDK copies from a turn into its parts; those of the turn are used."""
BESIDE = ("type", "detail", "prompt_cache_breakpoint", "uuid", "id", "index", *COPIED)
"""Fields of a part that hold no content.

`uuid` is vLLM's cache key for a picture, which is sent as well; LangChain gives its parts `id` and `index`.
"""
UNSUPPORTED_PARTS = ("video", "video_url", "input_video", "file", "input_file")


class ImageUrl(Replayed):
    """Some clients, such as Strands, name the kind of picture: what the bytes say of themselves counts."""

    url: str
    detail: Detail | None = None
    format: str | None = None


class ImageFile(Replayed):
    file_id: str
    detail: Detail | None = None


class InputAudio(Replayed):
    """What the bytes say of themselves counts, not the format that is named."""

    data: str
    format: str | None = None


class AudioUrl(Replayed):
    url: str


class WirePart(Replayed):
    """Every part's fields together: clients that dump their own types send the others as null."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    image: str | None = None
    url: str | None = None
    image_file: ImageFile | None = None
    input_audio: InputAudio | None = None
    audio: str | None = None
    audio_url: str | AudioUrl | None = None
    file_id: str | None = None
    detail: Detail | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None
    uuid: str | None = None
    id: str | None = None
    index: int | str | None = None
    role: str | None = None
    annotations: list[Any] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None


class WireMessage(Replayed):
    """A turn; an assistant's turn may come back with every field it was answered with.

    `parsed` is what OpenAI's helpers make of the content, and send back with it. LiteLLM keeps what it does
    not know in `provider_specific_fields`, Mistral's clients say by `prefix` that a final turn is to be gone
    on with, and LangChain tells the `status` of what a call gave.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None
    name: str | None = None
    refusal: str | None = None
    parsed: Any = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    annotations: list[Any] | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    audio: Any = None
    prefix: bool | None = None
    provider_specific_fields: Any = None
    phase: Literal["commentary", "final_answer"] | None = None
    status: Literal["success"] | None = None


class Slots:
    """Pictures sent beside the messages, which fill their `{"type": "image"}` parts in order."""

    def __init__(self, images: tuple[Image, ...], param: str) -> None:
        self._left: Iterator[Image] = iter(images)
        self._count = len(images)
        self._param = param

    def take(self) -> Image:
        """The next picture. Raises CallerError `image_count_mismatch` where none is left."""
        found = next(self._left, None)
        if found is None:
            raise self._mismatch("more")
        return found

    def close(self) -> None:
        """Raises CallerError `image_count_mismatch` where pictures are left over."""
        if next(self._left, None) is not None:
            raise self._mismatch("fewer")

    def _mismatch(self, word: str) -> CallerError:
        message = f"The messages have {word} image slots than the {self._count} pictures of `{self._param}`."
        return CallerError("image_count_mismatch", message, param=self._param)


def to_messages(
    values: list[Any], at: str, *, bare_base64: bool, slots: Slots | None = None
) -> tuple[Message, ...]:
    """Read a list of turns. Raises CallerError naming the field."""
    if not values:
        raise invalid(at, "is empty; send at least one message")
    *turns, last = (_message(v, f"{at}[{i}]", bare_base64, slots) for i, v in enumerate(values))
    early = next((i for i, value in enumerate(values[:-1]) if prefixed(value)), None)
    if early is not None:
        raise invalid(f"{at}[{early}].prefix", "is for the final message; leave it out here")
    return (*turns, asked(last))


def prefixed(value: dict[str, Any]) -> bool:
    """Whether a turn, already read, is to be continued by the model."""
    return bool(value.get("prefix"))


def asked(last: Message) -> Message:
    """The final turn; where a user sends only pictures, with the usual question for a caption."""
    if last.role != "user" or any(isinstance(part, Text | Sound) for part in last.parts):
        return last
    return last.model_copy(update={"parts": (*last.parts, Text(text=CAPTION))})


def _message(value: Any, at: str, bare_base64: bool, slots: Slots | None) -> Message:
    turn = read(WireMessage, value, at)
    if turn.role == "function":
        raise unsupported_kind(f"{at}.role", turn.role)
    for name in ("function_call", "audio"):
        if getattr(turn, name):
            raise unsupported(f"{at}.{name}")
    role: Role = "system" if turn.role == "developer" else turn.role
    calls = to_calls(turn.tool_calls or [], f"{at}.tool_calls")
    if calls and role != "assistant":
        raise invalid(f"{at}.tool_calls", "belong to a message of the assistant")
    if turn.prefix and role != "assistant":
        raise invalid(f"{at}.prefix", "belongs to a message of the assistant")
    content = turn.refusal if turn.content is None else turn.content
    if content is None and role == "assistant":
        content = ""
    bare = calls and content in (None, "", [])
    parts = (
        ()
        if bare
        else to_parts(
            content, f"{at}.content", role, lambda value, place: to_part(value, place, bare_base64, slots)
        )
    )
    if role != "tool":
        return Message(role=role, parts=parts, calls=calls)
    answered = f"{at}.tool_call_id"
    return Message(role=role, parts=parts, answers=check_id(turn.tool_call_id, answered), param=answered)


def to_parts(content: Any, at: str, role: Role, one: Callable[[Any, str], Part]) -> tuple[Part, ...]:
    """A turn's parts, each read by `one`. Raises CallerError naming the field.

    A function's result and a model's answer may be empty; a user's or system turn may not.
    """
    if isinstance(content, str):
        return (Text(text=content),)
    if not isinstance(content, list):
        raise invalid(at, "should be a string or a list of parts")
    if not content and role in ("user", "system"):
        raise invalid(at, "is an empty list; send at least one part")
    return tuple(one(value, f"{at}[{i}]") for i, value in enumerate(content)) or (Text(text=""),)


def to_part(value: Any, at: str, bare_base64: bool = False, slots: Slots | None = None) -> Part:
    """One piece of a turn. Raises CallerError naming the field."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in UNSUPPORTED_PARTS:
        raise unsupported_kind(f"{at}.type", kind)
    if isinstance(kind, str) and kind not in PART_FIELDS:
        raise invalid(f"{at}.type", f"should be one of {', '.join(PART_FIELDS)}")
    part = read(WirePart, value, at)
    sources = [n for n in WirePart.model_fields if n not in BESIDE and getattr(part, n) is not None]
    for name in sources:
        if name not in PART_FIELDS[part.type]:
            raise unknown(f"{at}.{name}")
    if len(sources) > 1:
        raise invalid(at, f"holds both {' and '.join(sources)}; send one of them")
    if not sources:
        if slots is not None and part.type == "image":
            return slots.take()
        raise invalid(f"{at}.{PART_FIELDS[part.type][0]}", "is required")
    value, place = getattr(part, sources[0]), f"{at}.{sources[0]}"
    if isinstance(value, InputAudio):
        return sound(value.data, f"{place}.data", bare_base64=True)
    if isinstance(value, AudioUrl):
        return sound(value.url, f"{place}.url", bare_base64=bare_base64)
    if part.type in ("audio", "audio_url"):
        return sound(value, place, bare_base64=bare_base64)
    found = _piece(value, sources[0], place, bare_base64)
    detail = getattr(value, "detail", None) or part.detail
    return found.model_copy(update={"detail": detail}) if detail and isinstance(found, Image) else found


def _piece(value: str | ImageUrl | ImageFile, name: str, at: str, bare_base64: bool) -> Part:
    """`name` is the field that holds it."""
    if isinstance(value, ImageFile):
        return Image(file=value.file_id, param=f"{at}.file_id")
    if isinstance(value, ImageUrl):
        return image(value.url, f"{at}.url", bare_base64=bare_base64)
    if name == "file_id":
        return Image(file=value, param=at)
    return Text(text=value) if name in ("text", "refusal") else image(value, at, bare_base64=bare_base64)
