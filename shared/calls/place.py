"""Whether a model's chat template has a place for the functions of a request."""

from shared.calls.numbers import numbers
from shared.calls.syntax import PLAIN, Known, Syntax
from shared.errors import CallerError
from shared.request import Request


def written_in(known: Known, request: Request) -> Syntax | None:
    """The form in which an answer may call functions, None where the request shows none."""
    return (known or PLAIN) if request.tools else None


def check_calls(request: Request, known: Known | None) -> None:
    """`known` is the form of the model's calls, "" where it takes no functions, None before anybody said so.

    A function that must be called needs no place: the answer is held to the call's form, as to a format.
    Raises CallerError `unsupported_parameter`, and `invalid_request` where a tool's message answers no call.
    """
    numbers(request.messages)
    if known != "":
        return
    message = (
        f"The model {request.model} takes no functions: its chat template has no place for them, or writes "
        "calls in a form that is not known here. Leave them out, or ask another model."
    )
    if request.tools is not None and not request.tools.required:
        raise CallerError("unsupported_parameter", message, param="tools")
    if any(m.calls or m.role == "tool" for m in request.messages):
        at = request.named.get("messages", "messages")
        raise CallerError("unsupported_parameter", message, param=at)
