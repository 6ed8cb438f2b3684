"""What templates and processors raise about a request, in words for its caller."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from jinja2 import TemplateError

from shared.errors import CallerError
from shared.request import Image, Request

log = logging.getLogger("worker.engines.prompt")
# What a template raises on a message, a variable or JSON of another form than it expects.
STUMBLES = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError)
WORDS = {"video": "these videos with ", "audio": "these sounds with ", "image": "these pictures with "}
# A template's message may quote the whole prompt.
REASON_LIMIT = 200
# The file name of a chat template in tracebacks.
TEMPLATE_FILE = "<template>"
# The function in which transformers looks for the final message in the rendered text, to end the prompt
# there.
CONTINUING = "render_jinja_template"


@contextmanager
def refused_by_template(request: Request) -> Iterator[None]:
    """Turns what templates and processors raise into CallerError: they see nothing but the request.

    A template's message is meant for its callers. A processor's may quote the prompt or name our files, so it
    is not shown, and the log says only where it came from. Templates also stumble over functions' parameters,
    which may be any JSON, because they walk through them as through schemas.
    """
    try:
        yield
    except TemplateError as error:
        reason = f"The model's chat template refuses these messages: {error}"[:REASON_LIMIT]
        raise CallerError("invalid_request", reason, param="messages") from None
    except (ValueError, *STUMBLES) as error:
        stumbled = isinstance(error, STUMBLES)
        frames = extract_tb(error.__traceback__)
        in_template = any(frame.filename == TEMPLATE_FILE for frame in frames)
        if stumbled and not (request.tools or in_template):
            raise
        last = frames[-1]
        where = (type(error).__name__, Path(last.filename).name, last.lineno)
        log.warning("the processor refuses a request: %s in %s, line %s", *where)
        if request.ends_open and last.name == CONTINUING:
            message = "The chat template rewrites the final message, so that it cannot be continued as it is."
            raise CallerError("invalid_request", message, param="messages") from None
        raise (_unreadable(request) if stumbled else _refusal(request)) from None


def _unreadable(request: Request) -> CallerError:
    if request.parameters.chat_template_kwargs:
        message = "The model's chat template cannot use these variables with these messages."
        return CallerError("invalid_request", message, param="chat_template_kwargs")
    subject = "the parameters of these functions" if request.tools else "these messages"
    message = f"The model's chat template cannot read {subject}."
    return CallerError("invalid_request", message, param="tools" if request.tools else "messages")


def _refusal(request: Request) -> CallerError:
    if any(m.role == "system" and any(isinstance(p, Image) for p in m.parts) for m in request.messages):
        message = "This model takes no pictures in a system message; put them into a user's."
        return CallerError("invalid_request", message, param="messages")
    shown = {"video": request.videos, "audio": request.sounds, "image": request.images}
    kind = next((kind for kind, there in shown.items() if there), "")
    message = f"The model's processor cannot use {WORDS.get(kind, '')}these messages."
    return CallerError(f"invalid_{kind or 'request'}", message, param="messages")
