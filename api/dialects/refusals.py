"""The three refusals that every dialect makes, each naming the field."""

from shared.errors import CallerError


def invalid(param: str, reason: str) -> CallerError:
    return CallerError("invalid_request", f"`{param}` {reason}.", param=param)


def unknown(param: str) -> CallerError:
    return CallerError("unknown_field", f"`{param}` is not a field of this request; remove it.", param=param)


def unsupported(param: str) -> CallerError:
    message = f"`{param}` is not implemented for this value; leave it out."
    return CallerError("unsupported_parameter", message, param=param)
