"""Fits a request to its model's chat template, or to its lack of one, before anything is stored."""

from dataclasses import replace

from api.auth.api_keys import LOCAL
from shared.errors import CallerError
from shared.estimate import Lane
from shared.models import Model
from shared.request import Request
from shared.settings import Settings
from shared.url_guard import check_url
from shared.webhooks import Webhook


def rendered(request: Request, model: Model, lane: Lane, *, prompt: bool) -> Request:
    """A model without a chat template, or with none that takes parts, gets the `prompt` unchanged.

    Where it is not known yet (a model not on this machine, never loaded), it is taken to have one.
    Raises CallerError `no_chat_template`.
    """
    known = model.has_chat_template if lane.has_chat_template is None else lane.has_chat_template
    if known is not False:
        return request
    if prompt and [message.role for message in request.messages] == ["user"]:
        return request.model_copy(update={"raw": True})
    message = f"The model {model.id} has no usable chat template; send one prompt to POST /models/{model.id}."
    raise CallerError("no_chat_template", message, param=request.named.get("messages", "messages"))


def paths_of(request: Request) -> dict[str, str]:
    """The caller's name for each place in the request that a worker's error may name."""
    return request.named | {at: part.param for at, part in zip(request.places, request.media, strict=True)}


# Checks a job's webhook before the job is kept: an address that may be called, and a secret.


def registered(webhook: Webhook, caller: str, settings: Settings) -> Webhook:
    """The webhook with its host. The courier resolves and checks the name again when it calls.

    Raises CallerError `invalid_webhook_url`, or `invalid_request` where there is no secret to sign with, or
    only one that signs for other callers too.
    """
    host = checked_host(webhook.url, settings, webhook.param)
    if webhook.secret is None and settings.webhook.secret is None:
        message = "A webhook needs a `secret`; this service has none of its own to sign with."
        raise CallerError("invalid_request", message, param="webhook.secret")
    if webhook.secret is None and settings.api.admin_key is not None and caller != LOCAL:
        message = "With API keys each webhook needs a `secret` of its own: send one, `whsec_` and base64."
        raise CallerError("invalid_request", message, param="webhook.secret")
    return replace(webhook, host=host)


def checked_host(url: str, settings: Settings, param: str) -> str:
    """The host of a URL that may be called. Raises CallerError `invalid_webhook_url`."""
    try:
        return check_url(url, settings.fetch.reach, param).authority
    except CallerError as refused:
        raise CallerError("invalid_webhook_url", refused.message, param=refused.param) from None
