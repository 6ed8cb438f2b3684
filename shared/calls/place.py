"""Whether a model has a place for what a request says of functions."""

from shared.calls.numbers import numbers
from shared.calls.syntax import PLAIN, Known, Syntax
from shared.errors import CallerError
from shared.request import Request


def written_in(known: Known, request: Request) -> Syntax | None:
    """The form in which an answer may call functions, None where it is shown none."""
    return (known or PLAIN) if request.tools else None


def check_calls(request: Request, known: Known | None) -> None:
    """`known` is the form of the model's calls, "" where it takes no functions, None before anybody said so.

    What has to be called asks for no place: the answer is held to the call (`written_in`), as to a format.
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
