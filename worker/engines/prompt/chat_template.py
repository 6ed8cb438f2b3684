"""A model's chat template: what it reads, in what form it takes texts, and how it has answers written."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from jinja2 import TemplateError, meta

from shared.errors import CallerError
from shared.request import Message, Parameters, Request, Role, Text
from shared.tool_calls.syntax import PLAIN, Known, syntax_of
from shared.tool_calls.thoughts import AnswerSyntax, Marks, marks_of
from shared.variables import Value, Variables
from worker.engines.loading.transformers_internals import compiled_template
from worker.engines.prompt.chat_format import (
    Chat,
    Content,
    Form,
    Forms,
    Shown,
    TurnWriter,
    chat,
    joined,
    text_part,
)
from worker.engines.prompt.template_errors import STUMBLES, refused_by_template

log = logging.getLogger("worker.engines.prompt")
# transformers' names for the template for chats and the one with functions, if a model has several.
CHATS, FUNCTIONS = "default", "tool_use"
Write = Callable[[list[dict[str, Any]]], str]
"""Renders turns with a template. May raise TemplateError, ValueError and STUMBLES."""
ORDER: tuple[Form, ...] = ("parts", "plain")
MARK = "sightlinemark"


class ChatTemplate:
    """Renders chats; safe to use from several threads."""

    def __init__(
        self,
        processor: Any,
        placeholder_ids: frozenset[int],
        defaults: Mapping[str, Value] | None,
        reasoning: Sequence[str] | None,
    ) -> None:
        """`defaults` are variables, where a caller sets none; `reasoning` are the marks of thoughts that the
        model's entry names.
        """
        self._processor, self._defaults = processor, dict(defaults or {})
        self.mark = str(getattr(processor, "image_token", None) or "")
        """Replaced by a picture's tokens; a processor of a folder's own code may need none."""
        self.source = _source(processor)
        self._forms = forms_of(
            lambda turns: processor.apply_chat_template(turns, chat_template=self.text(), tokenize=False)
        )
        self.single = not (self.source and self._forms)
        """Whether the model takes single questions only, because it has no chat template."""
        if self.single:
            log.warning("the model has no chat template for pictures, so it takes single questions only")
            self.source, self._forms = single_question(self.mark), dict.fromkeys(get_args(Role), "parts")
        texts = "".join(self.text(shows=shows) or "" for shows in (False, True))
        self.reserved = reserved(processor, texts, placeholder_ids)
        self._marks = marks_of(texts, reasoning)
        self._thoughts = lru_cache(maxsize=64)(self._begun)

    def text(self, *, shows: bool = False) -> str | None:
        """Of the template for chats, or with `shows` of the one for chats with functions.

        A processor finds its own templates by name, but not its tokenizer's.
        """
        source = self.source
        if isinstance(source, dict):
            source = source.get(FUNCTIONS if shows else CHATS, source[CHATS])
        return source or None

    def chat(self, request: Request, media: Sequence[Shown], *, harmless: bool = False) -> Chat:
        """The request's chat; `harmless` if nothing of its callers' texts is to stand in it."""
        return chat(request, media, TurnWriter(self.reserved.escape, self._forms, harmless))

    def render(self, request: Request, conversation: Chat) -> str:
        """The chat's text. Raises CallerError."""
        continues, shows = request.ends_open, conversation.tools is not None
        with refused_by_template(request):
            text: str = self._processor.apply_chat_template(
                conversation.turns,
                tools=conversation.tools,
                chat_template=self.text(shows=shows),
                add_generation_prompt=not continues,
                continue_final_message=continues,
                tokenize=False,
                **self.variables(request.parameters, shows=shows),
            )
        return text

    def check_defaults(self) -> None:
        """Raises CallerError where it cannot be rendered with the variables of the model's row."""
        if self._defaults:
            asked = _question()
            self.render(asked, self.chat(asked, ()))

    def variables(self, parameters: Parameters, *, shows: bool) -> dict[str, Value]:
        """Those that it reads. Others change nothing: transformers would hand them to the processor."""
        known = _read_by(self.text(shows=shows) or "")
        values = {**self._defaults, **dict(parameters.chat_template_kwargs or ())}
        return {
            name: self.reserved.escape(value) if isinstance(value, str) else value
            for name, value in values.items()
            if name in known
        }

    @property
    def syntax(self) -> Known:
        """The form in which the model calls functions; "" if it takes none."""
        return syntax_of(self.text(shows=True) or "")

    def syntax_of(self, request: Request) -> str | None:
        """How the answer is written; None if it is all words."""
        calls, thoughts = (self.syntax or PLAIN) if request.tools else None, self.thoughts_of(request)
        told = request.parameters.include_reasoning is not False
        return str(AnswerSyntax(calls, thoughts, told)) or None

    def thoughts_of(self, request: Request) -> Marks | None:
        """The marks of the answer's thoughts, without the opening one where the prompt ends with it.

        None where there are none: the prompt may also end with thoughts that a template has closed.
        """
        marks = self._marks
        if marks is None:
            return None
        if not request.ends_open:
            return self._thoughts(marks, request.parameters.chat_template_kwargs)
        text = "".join(part.text for part in request.messages[-1].parts if isinstance(part, Text))
        return marks._replace(opening="") if text.rfind(marks.opening) > text.rfind(marks.closing) else marks

    def _begun(self, marks: Marks, variables: Variables | None) -> Marks | None:
        """As `thoughts_of`, after a question: the template alone says how an answer begins."""
        asked = _question(Parameters(chat_template_kwargs=variables))
        try:
            text = self.render(asked, self.chat(asked, ())).rstrip()
        except CallerError:
            return marks
        if text.endswith(marks.closing):
            return None
        return marks._replace(opening="") if text.endswith(marks.opening) else marks


def _question(parameters: Parameters | None = None) -> Request:
    turn = Message(role="user", parts=(Text(text="x"),))
    return Request(model="", messages=(turn,), parameters=parameters or Parameters())


def _source(processor: Any) -> Any:
    """The chat template, or several by name; None if there is none for chats."""
    template = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
    return None if isinstance(template, dict) and CHATS not in template else template


def single_question(mark: str) -> str:
    """The template of a model that has none: the pictures of one message, and then its text.

    `mark` stands for a picture.
    """
    return (
        "{% if messages | length > 1 or messages[0].role != 'user' %}"
        "{{ raise_exception('this model has none of its own, so send a single message of the user') }}"
        "{% endif %}"
        "{% for part in messages[0].content if part.type == 'image' %}" + mark + "{% endfor %}"
        "{% for part in messages[0].content if part.type == 'text' %}{{ part.text }}{% endfor %}"
    )


@lru_cache(maxsize=8)
def _read_by(template: str) -> frozenset[str]:
    """The names that a template expects from outside, without functions."""
    environment = compiled_template(template).environment
    names = meta.find_undeclared_variables(environment.parse(template))
    return frozenset(names - environment.globals.keys())


def forms_of(write: Write) -> Forms:
    """The form by role in which a template takes texts, found with a made-up one.

    Empty if a user's parts are not rendered, as no pictures or sounds could be sent.
    """
    user = _form(write, lambda content: [_sample_turn("user", content)])
    if user != "parts":
        return {}
    question = _sample_turn("user", [text_part("x")])
    system = _form(write, lambda content: [_sample_turn("system", content), question])
    assistant = _form(write, lambda content: [question, _sample_turn("assistant", content), question])
    return {"system": system or "parts", "user": user, "assistant": assistant or "parts", "tool": "parts"}


def _form(write: Write, turns: Callable[[Content], list[dict[str, Any]]]) -> Form | None:
    """The first form that is rendered; None if none is. If a template refuses them, callers read why."""
    refused = False
    for form in ORDER:
        part = text_part(MARK)
        try:
            text = write(turns(joined([part]) if form == "plain" else [part]))
        except (TemplateError, ValueError):
            refused = True
            continue
        except STUMBLES:
            continue
        # A template for plain texts can write the list, as Python or as JSON does.
        if MARK in text.lower() and str(part) not in text and json.dumps(part) not in text:
            return form
    return "parts" if refused else None


def _sample_turn(role: Role, content: Content) -> dict[str, Any]:
    return {"role": role, "content": content}


ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True)
class Reserved:
    """A pattern of the reserved strings, and the ids that they would become."""

    pattern: re.Pattern[str]
    ids: frozenset[int]

    def escape(self, text: str) -> str:
        """Break every reserved string with a zero-width space, repeatedly if the pieces form another one."""
        while self.pattern.search(text):
            text = self.pattern.sub(lambda match: match[0][0] + ZERO_WIDTH_SPACE + match[0][1:], text)
        return text

    def count(self, ids: Iterable[int]) -> int:
        return sum(token in self.ids for token in ids)


def reserved(processor: Any, template: str, placeholder_ids: frozenset[int]) -> Reserved:
    """Special tokens, added tokens the template writes, and the strings the processor expands.

    Other added tokens are ordinary text, such as runs of newlines and HTML tags.
    """
    tokenizer = processor.tokenizer
    control = {
        id_: token.content
        for id_, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or token.content in template)
    }
    named = (str(value) for name, value in vars(processor).items() if name.endswith("_token") and value)
    # One that is a word (`TILE`) callers write, too.
    expanded = {text for text in named if re.search(r"\W", text) or text in tokenizer.get_added_vocab()}
    strings = sorted({*control.values(), *expanded, *tokenizer.all_special_tokens}, key=len, reverse=True)
    # A token of one character cannot be broken.
    pattern = re.compile("|".join(re.escape(s) for s in strings if len(s) > 1) or "(?!)")
    # A character the vocabulary lacks becomes `unk` by itself.
    ids = (control.keys() | set(tokenizer.all_special_ids) | placeholder_ids) - {tokenizer.unk_token_id}
    return Reserved(pattern, frozenset(ids))
