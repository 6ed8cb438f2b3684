"""Why a model, or one request, cannot be computed beside others."""


class Refusal(Exception):  # noqa: N818 - an outcome, not an error
    """The model does something that rows sharing a batch cannot bear; the message says what."""
