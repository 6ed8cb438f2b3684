"""Whether a model has a place for what a request says of functions."""

from shared.calls.numbers import numbers
from shared.calls.syntax import Known
from shared.errors import CallerError
from shared.request import Request


def check_calls(request: Request, known: Known | None) -> None:
    """`known` is the form of the model's calls, "" where it takes no functions, None before anybody said so.

    Raises CallerError `unsupported_parameter`, and `invalid_request` where a tool's message answers no call.
    """
    numbers(request.messages)
    if known != "":
        return
    message = (
        f"The model {request.model} takes no functions: its chat template has no place for them, or writes "
        "calls in a form that is not known here."
    )
    if request.tools is not None:
        raise CallerError("unsupported_parameter", message, param="tools")
    if any(m.calls or m.role == "tool" for m in request.messages):
        at = request.named.get("messages", "messages")
        raise CallerError("unsupported_parameter", message, param=at)
