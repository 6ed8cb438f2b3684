"""Requests to model inputs, for every model transformers' processors know.

Content parts are built here from a closed set of keys and hold decoded pictures only: a processor opens
paths and fetches URLs it is handed. Text that callers typed stays text: a special token in it would forge
a turn of the conversation or claim a picture that is not there.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.request import Image, Message, Request, Text
from worker.engines.base import Prompt

log = logging.getLogger(__name__)
ZERO_WIDTH_SPACE = "\u200b"
# A template's or processor's message may quote the whole prompt.
REASON_LIMIT = 200
PLACEHOLDERS = ("image", "video", "audio")


@dataclass(frozen=True)
class Reserved:
    """What callers must not be able to write: the strings, and the ids they would become."""

    pattern: re.Pattern[str]
    ids: frozenset[int]

    def escape(self, text: str) -> str:
        """Break every reserved string with a zero-width space; again while the pieces form another."""
        while self.pattern.search(text):
            text = self.pattern.sub(lambda match: match[0][0] + ZERO_WIDTH_SPACE + match[0][1:], text)
        return text


class Renderer:
    """Builds prompts for one model; safe to use from several threads."""

    def __init__(self, processor: Any, config: Any) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        template = getattr(processor, "chat_template", None) or self._tokenizer.chat_template
        self.template = template if _takes_parts(processor, template) else None
        self.placeholder_ids = frozenset(_placeholder_ids(processor, config))
        self.image_id = _image_id(processor, config)
        # What the processor replaces in a text; Kosmos 2 names it only as the beginning of an image.
        self._mark = getattr(processor, "image_token", None) or getattr(processor, "boi_token", None) or ""
        self._reserved = _reserved(processor, str(self.template or ""), self.placeholder_ids)
        # The first call may reset padding and truncation, which a tokenizer in use by a thread cannot bear.
        self._tokenizer("x")

    def prompt(self, request: Request, pictures: Sequence[Picture]) -> Prompt:
        """Raises CallerError `no_chat_template`, `invalid_request`, `invalid_image`."""
        inputs = self._raw(request, pictures) if request.raw else self._chat(request, pictures)
        # What to learn from; PaliGemma's processor always adds it, and the network would compute a loss.
        inputs.pop("labels", None)
        ids = inputs["input_ids"]
        if ids.shape[-1] == 0:
            raise CallerError("invalid_request", "The prompt is empty.", param="messages")
        images = 0 if self.image_id is None else int((ids == self.image_id).sum())
        return Prompt(tokens=int(ids.shape[-1]), image_tokens=images, inputs=inputs)

    def _chat(self, request: Request, pictures: Sequence[Picture]) -> Any:
        if not self.template:
            raise CallerError("no_chat_template", "This model has no chat template.", param="messages")
        conversation = self._conversation(request, pictures)
        self._refuse_forged(request, conversation)
        with _refusals(request):
            return self._apply(request, conversation, tokenize=True, return_dict=True, return_tensors="pt")

    def _raw(self, request: Request, pictures: Sequence[Picture]) -> Any:
        typed = "".join(part.text for m in request.messages for part in m.parts if isinstance(part, Text))
        text = self._mark * len(pictures) + self._reserved.escape(typed)
        with _refusals(request):
            return self._processor(
                text=[text], images=[list(pictures)] if pictures else None, return_tensors="pt"
            )

    def _conversation(self, request: Request, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        left = iter(pictures)
        return [{"role": m.role, "content": list(self._content(m, left))} for m in request.messages]

    def _content(self, message: Message, left: Iterator[Picture]) -> Iterator[dict[str, Any]]:
        for part in message.parts:
            if isinstance(part, Text):
                yield {"type": "text", "text": self._reserved.escape(part.text)}
            else:
                yield {"type": "image", "image": next(left)}

    def _apply(self, request: Request, conversation: list[dict[str, Any]], **how: Any) -> Any:
        continues = request.continue_final and request.messages[-1].role == "assistant"
        return self._processor.apply_chat_template(
            conversation,
            chat_template=_own(self.template),
            add_generation_prompt=not continues,
            continue_final_message=continues,
            **how,
        )

    def _refuse_forged(self, request: Request, conversation: list[dict[str, Any]]) -> None:
        """Compare with harmless text: a template can join two innocent parts to one special token."""
        harmless = [
            {**message, "content": list(map(_harmless, message["content"]))} for message in conversation
        ]
        if self._count_reserved(request, conversation) > self._count_reserved(request, harmless):
            raise CallerError(
                "invalid_request",
                "Texts of this request form a special token of the model.",
                param="messages",
            )

    def _count_reserved(self, request: Request, conversation: list[dict[str, Any]]) -> int:
        with _refusals(request):
            text = self._apply(request, conversation, tokenize=False)
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return sum(token in self._reserved.ids for token in ids)


@contextmanager
def _refusals(request: Request) -> Iterator[None]:
    """What templates and processors refuse is the caller's error: they know nothing but the request.

    A template's own words are meant for its callers; a processor's may quote the prompt or name our files.
    """
    try:
        yield
    except TemplateError as error:
        reason = f"The model's chat template refuses these messages: {error}"[:REASON_LIMIT]
        raise CallerError("invalid_request", reason, param="messages") from None
    except ValueError as error:
        log.warning("the processor refuses a request: %s", str(error)[:REASON_LIMIT])
        raise _refusal(request) from None


def _refusal(request: Request) -> CallerError:
    if any(m.role == "system" and any(isinstance(p, Image) for p in m.parts) for m in request.messages):
        message = "This model takes no pictures in a system message; put them into a user's."
        return CallerError("invalid_request", message, param="messages")
    if request.images:
        message = "The model's processor cannot use these pictures with these messages."
        return CallerError("invalid_image", message, param="messages")
    return CallerError(
        "invalid_request", "The model's processor cannot use these messages.", param="messages"
    )


def _takes_parts(processor: Any, template: Any) -> bool:
    """Whether it writes a part's text; one for plain texts fails, or writes the list as Python does."""
    part = {"type": "text", "text": "x"}
    try:
        text = processor.apply_chat_template(
            [{"role": "user", "content": [part]}], chat_template=_own(template), tokenize=False
        )
    except TypeError:
        text = str(part)
    except (TemplateError, ValueError):
        return True  # for a reason of its own, which callers will read
    if str(part) not in text:
        return True
    log.warning("the model's chat template takes plain texts only, so chats are refused")
    return False


def _own(template: Any) -> str | None:
    """Where there are several by name, the processor chooses."""
    return template if isinstance(template, str) else None


def _harmless(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": "x"} if part["type"] == "text" and part["text"].strip() else part


def _reserved(processor: Any, template: str, placeholder_ids: frozenset[int]) -> Reserved:
    """Special tokens, added tokens the template writes, and the strings the processor expands.

    Other added tokens are ordinary text (Gemma adds runs of newlines and HTML tags).
    """
    tokenizer = processor.tokenizer
    control = {
        id_: token.content
        for id_, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or token.content in template)
    }
    expanded = {str(value) for name, value in vars(processor).items() if name.endswith("_token") and value}
    strings = sorted({*control.values(), *expanded, *tokenizer.all_special_tokens}, key=len, reverse=True)
    # A token of one character cannot be broken.
    pattern = re.compile("|".join(re.escape(s) for s in strings if len(s) > 1) or "(?!)")
    # A character the vocabulary lacks becomes `unk` by itself.
    ids = (control.keys() | set(tokenizer.all_special_ids) | placeholder_ids) - {tokenizer.unk_token_id}
    return Reserved(pattern, frozenset(ids))


def _image_id(processor: Any, config: Any) -> int | None:
    return getattr(config, "image_token_id", None) or getattr(processor, "image_token_id", None)


def _placeholder_ids(processor: Any, config: Any) -> Iterator[int]:
    for kind in PLACEHOLDERS:
        for holder in (config, processor):
            id_ = getattr(holder, f"{kind}_token_id", None)
            if isinstance(id_, int):
                yield id_
