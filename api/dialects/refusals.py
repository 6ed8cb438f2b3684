"""Errors that every dialect raises for a field, each naming it."""

from shared.errors import CallerError


def invalid(param: str, reason: str) -> CallerError:
    return CallerError("invalid_request", f"`{param}` {reason}.", param=param)


def unknown(param: str) -> CallerError:
    return CallerError("unknown_field", f"`{param}` is not a field of this request; remove it.", param=param)


def unsupported(param: str) -> CallerError:
    message = f"`{param}` is not implemented for this value; leave it out."
    return CallerError("unsupported_parameter", message, param=param)


def unsupported_kind(param: str, value: object) -> CallerError:
    """For a required field such as `type`: it cannot be left out alone, only with the object around it."""
    whole = param.rpartition(".")[0]
    advice = f"leave `{whole}` out" if whole else "send another"
    message = f"`{param}` {value!r:.80} is not implemented; {advice}."
    return CallerError("unsupported_parameter", message, param=param)
