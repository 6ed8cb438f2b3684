"""What a caller is told whose call is refused."""

from collections.abc import Callable

import pytest

from shared.errors import CallerError


def refusal(read: Callable[..., object], *arguments: object, **named: object) -> tuple[str, str | None]:
    """The error's code, and the field that it names."""
    with pytest.raises(CallerError) as refused:
        read(*arguments, **named)
    return refused.value.code, refused.value.param
