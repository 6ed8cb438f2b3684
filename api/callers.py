"""Who is calling.

No key is configured, so every token is accepted, as `Bearer X` and as the Hugging Face page's `Bearer: X`,
and all callers are one. Jobs, cache scope and idempotency keys are kept by caller all the same.
"""

LOCAL = "local"


def caller_of() -> str:
    """The tenant whose jobs a request sees."""
    return LOCAL
