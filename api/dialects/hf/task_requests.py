"""POST /models/{id}: Hugging Face's raw route, in every form its clients and task pages use.

    "inputs"                                         meant as
    "text with ![](url)"                             a prompt with markdown pictures
    "<base64>" or "data:…;base64,…" alone            image-to-text
    {image | images, text}                           pictures, then the text
    {image, question}                                visual or document question answering
    {text: [messages], images: […]}                  pictures fill the messages' image slots
    [messages]                                       a conversation; a final assistant turn is continued
    "<base64>" with top-level question and image     huggingface_hub's visual_question_answering
    none, with top-level question and image          the same before huggingface_hub 0.28

A body of picture bytes is image-to-text. Answers are in `task_answers`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from api.dialects.media import DATA_HEAD, medium, pictures_beside, prompt_parts
from api.dialects.messages import CAPTION, ImageSlots, WireMessages, to_messages, with_question
from api.dialects.sampling import Sampling, to_parameters
from api.dialects.strict_json import (
    RequestBody,
    Wire,
    described_as,
    invalid,
    is_form,
    parse,
    read,
    unsupported,
)
from api.dialects.unknown_fields import PART, QUESTION, WRAPPED, contents
from shared.errors import CallerError
from shared.media.files import as_its_bytes
from shared.request import Image, Medium, Message, Parameters, Request, Text


class Generation(Sampling):
    """`parameters` and `generate_kwargs` alike."""

    constraints = QUESTION


_GenerationField = Annotated[dict[str, Any] | None, described_as(Generation | None)]


class HfParameters(Generation):
    details: bool | None = None
    return_full_text: bool | None = None
    store: bool | None = None
    generate_kwargs: _GenerationField = None
    generation_parameters: _GenerationField = None


class Options(RequestBody):
    use_cache: bool | None = None
    wait_for_model: bool | None = None


class HfInputs(RequestBody):
    constraints = PART | contents("inputs")
    image: str | None = None
    images: str | list[str] | None = None
    text: Annotated[str | list[Any] | None, described_as(str | WireMessages | None)] = None
    question: str | None = None


class HfBody(RequestBody):
    constraints = WRAPPED | contents("inputs")
    model: str | None = None
    inputs: Annotated[
        str | dict[str, Any] | list[Any] | None,
        described_as(str | HfInputs | WireMessages | None),
        Field(description="Null beside a `question` and its `image`."),
    ] = None
    question: str | None = None
    image: str | None = None
    parameters: HfParameters | None = None
    options: Options | None = None
    stream: bool | None = None
    store: bool | None = None


Task = Literal["image-text-to-text", "image-to-text", "visual-question-answering"]

_PICTURE_URL = re.compile(r"https?://[^\s?]+\.(?:png|jpe?g|webp|gif|bmp|tiff?)(?:\?\S*)?", re.IGNORECASE)
# How a picture's data: URI begins, and the base64 of a PNG, JPEG, GIF, WebP, BMP, TIFF, or HEIF (HEIC, AVIF)
# file. A kind that is not supported is refused, and not taken for a prompt.
_PICTURE = re.compile(
    rf"(?i:data:image/)|(?:{DATA_HEAD})?"
    r"(?:iVBORw0KGgo|[/_]9j[/_]|R0lGOD|UklGR|Qk[0-3].{5}AAAA|SUkqA|TU0AK|AAAA.[2GWm]Z0eX)"
)
# The data: URI of another file alone, perhaps broken into lines; with words after it, it is part of a prompt.
_FILE = re.compile(rf"\s*{DATA_HEAD}(?:[A-Za-z0-9+/_%-]|[ \t]*+[\r\n]\s*+)*+=*\s*")
# How any JSON value begins, even an invalid one; no picture does.
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[{\[\"\-0-9tfn]|\Z)")


@dataclass
class HfCall:
    """A raw call: what to compute and how to answer.

    `answers` is how many answers a question wants at most. `details` adds how it ended and its tokens.
    `prefixed` puts the prompt's text before the answer, as `return_full_text` asks where a text is continued
    and not a conversation.
    The headers may say `use_cache` and `wait_for_model` too. A request's `model` is left open.
    """

    request: Request
    task: Task
    stream: bool = False
    return_full_text: bool = False
    prefixed: bool = False
    details: bool = False
    answers: int | None = None
    use_cache: bool = True
    wait_for_model: bool = False
    stored: bool = True


def from_bytes(body: bytes, content_type: str | None) -> HfCall:
    """Read a body by its content type, and by its first byte where clients name none or a wrong one.

    Raises CallerError.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind.startswith("image/"):
        return from_picture(body)
    textual = kind.endswith("json") or kind.startswith("text/") or not (kind or body)
    if textual or is_form(body) or (body and _JSON.match(body[:64])):
        return from_hf(parse(body))
    return from_picture(body)


def from_picture(data: bytes) -> HfCall:
    """Image-to-text of a body that is the picture itself. Raises CallerError for an empty one."""
    if not data:
        raise CallerError("invalid_image", "The body is empty; send JSON, or a picture's bytes.")
    message = Message(role="user", parts=(as_its_bytes(Image(data=data), data), Text(text=CAPTION)))
    return HfCall(Request(model="", messages=(message,), named={"messages": ""}), "image-to-text")


def from_hf(body: Any) -> HfCall:
    """Raises CallerError naming the field."""
    call = read(HfBody, body)
    task, messages = _conversation(call)
    options = call.options or Options()
    arguments = call.parameters or HfParameters()
    _refuse_labels(arguments, task)
    text = call.inputs.get("text") if isinstance(call.inputs, dict) else call.inputs
    details = _details(arguments, task)
    parameters, named = _parameters(arguments, task, logprobs=0 if details else None)
    if parameters.n and (call.stream or details):
        raise unsupported(named["n"])
    return HfCall(
        request=Request(
            model=call.model or "",
            messages=messages,
            parameters=parameters,
            continue_final=messages[-1].role == "assistant",
            named={**named, "messages": "inputs" if call.question is None else "question"},
        ),
        task=task,
        stream=bool(call.stream),
        return_full_text=bool(arguments.return_full_text),
        prefixed=bool(arguments.return_full_text) and task == "image-text-to-text" and isinstance(text, str),
        details=details,
        answers=_answers(arguments) if task == "visual-question-answering" else None,
        use_cache=options.use_cache is not False,
        wait_for_model=bool(options.wait_for_model),
        stored=False not in (call.store, arguments.store),
    )


def _conversation(call: HfBody) -> tuple[Task, tuple[Message, ...]]:
    if call.question is not None or call.image is not None:
        return _top_level_question(call)
    if call.inputs is None:
        raise invalid("inputs", "is required")
    if isinstance(call.inputs, list):
        return "image-text-to-text", to_messages(call.inputs, "inputs")
    if isinstance(call.inputs, dict):
        return _fields(read(HfInputs, call.inputs, "inputs"))
    text = call.inputs.strip()
    if _PICTURE.match(text[:400]) or _FILE.fullmatch(call.inputs) or _PICTURE_URL.fullmatch(text):
        picture = medium(Image, call.inputs, "inputs")
        return "image-to-text", _turn((picture,), CAPTION)
    parts = prompt_parts(call.inputs)
    return "image-text-to-text", (with_question(Message(role="user", parts=parts)),)


def _top_level_question(call: HfBody) -> tuple[Task, tuple[Message, ...]]:
    """huggingface_hub sends the picture twice, as `inputs` and as `image`, and before 0.28 as `image`."""
    if call.question is None:
        raise invalid("question", "is required beside `image`")
    at = "image" if call.inputs is None else "inputs"
    value = call.image if call.inputs is None else call.inputs
    if not isinstance(value, str):
        raise invalid("inputs", "should be the picture beside `question`, in base64")
    if call.image is not None and call.image != value:
        raise invalid("image", "is another picture than `inputs`; send the same twice")
    picture = medium(Image, value, at)
    return "visual-question-answering", _turn((picture,), call.question)


def _fields(inputs: HfInputs) -> tuple[Task, tuple[Message, ...]]:
    if inputs.text is not None and inputs.question is not None:
        raise invalid("inputs.question", "is sent beside `inputs.text`; send one of them")
    pictures, param = pictures_beside(inputs.image, inputs.images, "inputs")
    if isinstance(inputs.text, list):
        slots = ImageSlots(pictures, param)
        messages = to_messages(inputs.text, "inputs.text", slots=slots)
        slots.close()
        return "image-text-to-text", messages
    if inputs.question is not None:
        if not pictures:
            raise invalid("inputs.image", "is required beside a question")
        return "visual-question-answering", _turn(pictures, inputs.question)
    if inputs.text is None and not pictures:
        raise invalid("inputs", "needs a text, a picture or both")
    return "image-text-to-text", _turn(pictures, CAPTION if inputs.text is None else inputs.text)


def _turn(pictures: tuple[Medium, ...], text: str) -> tuple[Message, ...]:
    """Pictures first, then the text: the order of every short form, so that they share the cache."""
    return (Message(role="user", parts=(*pictures, Text(text=text))),)


def _refuse_labels(arguments: HfParameters, task: Task) -> None:
    """Refuse `top_k` alone, which asks for labels of a picture; a caption's comes beside other parameters."""
    if task == "image-to-text" and arguments.model_dump(exclude_none=True).keys() == {"top_k"}:
        message = (
            "`parameters.top_k` alone asks for labels of a picture, and pictures are not classified here. "
            "For a caption send it beside `do_sample`, or in `parameters.generation_parameters`."
        )
        raise CallerError("unsupported_parameter", message, param="parameters.top_k")


def _details(arguments: HfParameters, task: Task) -> bool:
    """Whether details are asked for; only answers with generated text have a place for them."""
    if arguments.details and task != "image-text-to-text":
        raise unsupported("parameters.details")
    return bool(arguments.details)


def _parameters(
    arguments: HfParameters, task: Task, *, logprobs: int | None
) -> tuple[Parameters, dict[str, str]]:
    if task == "visual-question-answering":
        # There top_k is the number of answers wanted.
        arguments = arguments.model_copy(update={"top_k": None})
    sources: list[tuple[Wire, str]] = [(arguments, "parameters")]
    for name in ("generate_kwargs", "generation_parameters"):
        if (inner := getattr(arguments, name)) is not None:
            at = f"parameters.{name}"
            sources.append((read(Generation, inner, at), at))
    parameters, named = to_parameters(*sources, logprobs=logprobs)
    return parameters, named if logprobs is None else {**named, "logprobs": "parameters.details"}


def _answers(arguments: HfParameters) -> int | None:
    if arguments.top_k is not None and arguments.top_k < 1:
        raise invalid("parameters.top_k", "should be at least 1")
    return arguments.top_k
