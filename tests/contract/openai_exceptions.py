"""What OpenAI's clients and Vercel's AI SDK make of each error, as the code that calls them meets it.

tests/contract/test_openai_errors.py holds it against the clients themselves.
"""

from typing import NamedTuple

from shared.errors import Code

NAMED = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""OpenAI's exceptions for one status each; what is 500 and above is `InternalServerError`."""

OTHERS_PYTHON, OTHERS_JAVASCRIPT = "APIStatusError", "APIError"
"""What OpenAI's clients raise for a status without a name of its own, which is every name's base."""

AGAIN = 2
"""How often all of them repeat a call before they give up, unless they are told otherwise."""


class Raised(NamedTuple):
    """The names of the exceptions, and whether each client repeats the call before it raises them."""

    python: str
    javascript: str
    repeats: bool
    ai: str
    ai_repeats: bool


def raised(code: Code) -> Raised:
    """OpenAI's clients obey `x-should-retry`, so that they repeat what may succeed; the AI SDK does not."""
    named = "InternalServerError" if code.status >= 500 else NAMED.get(code.status)
    ai_repeats = code.status in (408, 409, 429) or code.status >= 500
    return Raised(
        python=named or OTHERS_PYTHON,
        javascript=named or OTHERS_JAVASCRIPT,
        repeats=code.retryable,
        ai="RetryError" if ai_repeats else "APICallError",
        ai_repeats=ai_repeats,
    )
