"""Fits a request to its model's chat template, or to its lack of one, before anything is stored."""

from shared.errors import CallerError
from shared.estimate import Lane
from shared.models import Model
from shared.request import Request


def rendered(request: Request, model: Model, lane: Lane, *, prompt: bool) -> Request:
    """A model without a chat template, or with none that takes parts, gets the `prompt` unchanged.

    Where it is not known yet (a model not on this machine, never loaded), it is taken to have one.
    Raises CallerError `no_chat_template`.
    """
    known = model.has_chat_template if lane.has_chat_template is None else lane.has_chat_template
    if known is not False:
        return request
    if prompt and [message.role for message in request.messages] == ["user"]:
        return request.model_copy(update={"raw": True})
    message = f"The model {model.id} has no usable chat template; send one prompt to POST /models/{model.id}."
    raise CallerError("no_chat_template", message, param=request.named.get("messages", "messages"))


def paths_of(request: Request) -> dict[str, str]:
    """The caller's name for each place in the request that a worker's error may name."""
    return request.named | {at: part.param for at, part in zip(request.places, request.media, strict=True)}
