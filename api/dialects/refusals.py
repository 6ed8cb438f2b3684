"""The refusals that every dialect makes, each naming the field."""

from shared.errors import CallerError


def invalid(param: str, reason: str) -> CallerError:
    return CallerError("invalid_request", f"`{param}` {reason}.", param=param)


def unknown(param: str) -> CallerError:
    return CallerError("unknown_field", f"`{param}` is not a field of this request; remove it.", param=param)


def unsupported(param: str) -> CallerError:
    message = f"`{param}` is not implemented for this value; leave it out."
    return CallerError("unsupported_parameter", message, param=param)


def unsupported_kind(param: str, value: object) -> CallerError:
    """Of a field that has to be there: what can be left out is all that it says the kind of."""
    whole = param.rpartition(".")[0]
    advice = f"leave `{whole}` out" if whole else "send another"
    message = f"`{param}` {value!r:.80} is not implemented; {advice}."
    return CallerError("unsupported_parameter", message, param=param)
