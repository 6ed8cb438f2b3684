"""Checks a request against its model and the service's limits, before anything is stored."""

from dataclasses import replace

from api.auth.api_keys import LOCAL
from api.auth.callers import Caller
from shared.errors import CallerError
from shared.estimate import Lane
from shared.media.files import check_accepts
from shared.models import Model
from shared.request import Request
from shared.request_length import check_text, fit_answer
from shared.settings import Settings
from shared.tool_calls.numbering import check_calls
from shared.url_guard import check_url
from shared.webhooks import Webhook

FURTHEST_S = 30 * 86_400


def check_finish_by(finish_by_ms: int | None, now_ms: int) -> None:
    """Raises CallerError `invalid_request` for a moment that has passed, or is too far ahead."""
    if finish_by_ms is None or now_ms < finish_by_ms <= now_ms + FURTHEST_S * 1000:
        return
    wrong = "has passed" if finish_by_ms <= now_ms else f"is more than {FURTHEST_S // 86_400} days ahead"
    raise CallerError("invalid_request", f"`finish_by` {wrong}.", param="finish_by")


def check_request(request: Request, model: Model, lane: Lane, settings: Settings) -> Request:
    """The request as its model can take it; what a worker published about the model (`lane`) goes first.

    Media are checked by `media_check`.

    Raises CallerError `unsupported_parameter`, `payload_too_large`, `context_length_exceeded`,
    `invalid_request`.
    """
    check_calls(request, model.tools if lane.tools is None else lane.tools)
    rate = model.sampling_rate if lane.sampling_rate is None else lane.sampling_rate
    check_accepts(request, rate, model.videos if lane.videos is None else lane.videos)
    check_text(request, settings.api.text_limit_kb)
    check_end(request)
    return fit_answer(request, model.length(lane.context_length))


def check_end(request: Request) -> None:
    """Raises CallerError `invalid_request` for `ignore_eos` with an answer that ends with its form, and for
    special tokens in the text where calls of functions are read from it.
    """
    constrained = request.parameters.format is not None or (
        request.tools is not None and request.tools.is_constrained
    )
    if request.parameters.ignore_eos and constrained:
        message = "An answer that is held to a form ends where that is complete; leave `ignore_eos` out."
        raise CallerError("invalid_request", message, param=request.named.get("ignore_eos", "ignore_eos"))
    name = "no_repeat_ngram_size"
    if request.parameters.no_repeat_ngram_size and constrained:
        message = f"An answer that is held to a form has to repeat tokens; leave `{name}` out."
        raise CallerError("invalid_request", message, param=request.named.get(name, name))
    name = "skip_special_tokens"
    if request.tools is not None and request.parameters.skip_special_tokens is False:
        message = f"With functions special tokens are no part of the text; leave `{name}` out."
        raise CallerError("invalid_request", message, param=request.named.get(name, name))


def webhook_target(webhook: Webhook | None, caller: Caller, settings: Settings) -> Webhook | str | None:
    """Return a job's or a batch's own webhook, or the id of the key that has a default one.

    The webhook gets its host. The courier resolves and checks the name again when it calls.

    Raises CallerError `invalid_webhook_url`, or `invalid_request` where there is no secret to sign with, or
    only one that signs for other callers too.
    """
    key = caller.key.id if caller.key is not None and caller.key.webhook is not None else None
    if webhook is None:
        return key
    host = webhook_host(webhook.url, settings, webhook.param)
    if webhook.secret is None and key is not None:
        return replace(webhook, host=host, key=key)
    if webhook.secret is None and settings.webhook.secret is None:
        message = "A webhook needs a `secret`; this service has none of its own to sign with."
        raise CallerError("invalid_request", message, param="webhook.secret")
    if webhook.secret is None and settings.api.admin_key is not None and caller.id != LOCAL:
        message = (
            "Send a `secret` (`whsec_` and base64), or ask the operator for a default webhook of your key."
        )
        raise CallerError("invalid_request", message, param="webhook.secret")
    return replace(webhook, host=host)


def webhook_host(url: str, settings: Settings, param: str) -> str:
    """The host of a URL that may be called. Raises CallerError `invalid_webhook_url`."""
    try:
        return check_url(url, settings.fetch.reach, param).authority
    except CallerError as error:
        raise CallerError("invalid_webhook_url", error.message, param=error.param) from None
