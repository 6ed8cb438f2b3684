"""Checks a job's webhook before the job is kept: an address that may be called, and a secret."""

from dataclasses import replace

from api.access.keyring import LOCAL
from shared.addresses import check_url
from shared.errors import CallerError
from shared.settings import Settings
from shared.webhooks import Webhook


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
