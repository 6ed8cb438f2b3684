"""A webhook's call can be verified with the receivers' own libraries, and its secret leaks nowhere."""

import base64
import json
import secrets
import time

import openai
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from api.admission.checks import webhook_target
from api.auth.api_keys import LOCAL
from api.auth.callers import Caller
from api.dialects.native.job_requests import JobBody, from_job
from api.dialects.webhooks import to_hook, to_webhook
from shared.errors import CallerError
from shared.job import Delivery, Hook
from shared.settings import FetchSettings, Settings, WebhookSettings
from shared.webhooks import ENDINGS, Webhook, key_of, signature
from tests.support.mutations import refusals

KEY = secrets.token_bytes(24)
SECRET = "whsec_" + base64.b64encode(KEY).decode()
RAW = "sixteen bytes are enough"
BODY = json.dumps({"type": "job.succeeded", "data": {"id": "job_1"}}).encode()
URL = "https://example.com/told"
ASKED = {"model": "m", "input": {"prompt": "Hi"}}


def headers(secret: str) -> dict[str, str]:
    now = int(time.time())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(key_of(secret), "msg_1", now, BODY),
    }


def test_a_secret_of_text_verifies_in_base64_as_the_page_says_and_not_as_it_is() -> None:
    in_base64 = "whsec_" + base64.b64encode(RAW.encode()).decode()
    assert Verifier(in_base64).verify(BODY, headers(RAW)) == json.loads(BODY)
    with pytest.raises((WebhookVerificationError, ValueError)):
        Verifier(RAW).verify(BODY, headers(RAW))


@pytest.mark.parametrize("secret", [SECRET, RAW], ids=["base64", "raw"])
def test_openai_s_client_unwraps_it(secret: str) -> None:
    client = openai.OpenAI(api_key="none", webhook_secret=secret)
    event = client.webhooks.unwrap(BODY, headers(secret))
    assert event.type == "job.succeeded"  # type: ignore[comparison-overlap]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(BODY + b" ", headers(secret))


@pytest.mark.parametrize(
    "secret",
    [
        *("", "fifteen bytes..", "whsec_", "whsec_AAAA", "whsec_not base64 at all!!!!!!"),
        *("whsec_" + 20 * "A" + "!" + 20 * "A", "x" * 257),
    ],
)
def test_a_secret_that_protects_nothing_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(CallerError) as refused:
        from_job(ASKED | {"webhook": {"url": URL, "secret": secret}})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "webhook.secret")
    assert len(secret) < 10 or secret not in refused.value.message


def test_a_webhook_is_an_address_or_says_more() -> None:
    plain = from_job(ASKED | {"webhook": URL}).webhook
    assert plain == Webhook(URL, ENDINGS, param="webhook")
    said = {"url": URL, "events": ["job.failed", "job.running", "job.failed"], "secret": SECRET}
    full = from_job(ASKED | {"webhook": said}).webhook
    assert full == Webhook(URL, ("job.failed", "job.running"), SecretStr(SECRET))


def test_a_secret_is_in_nothing_that_is_printed() -> None:
    said = ASKED | {"webhook": {"url": URL, "secret": SECRET}}
    body = JobBody.model_validate(said)
    printed = repr(body) + str(body.model_dump()) + body.model_dump_json() + repr(from_job(said))
    settings = Settings(webhook=WebhookSettings(secret=SecretStr(SECRET)))
    assert SECRET not in printed + repr(settings) + settings.model_dump_json()


def test_every_broken_webhook_is_refused_by_name() -> None:
    said = {"url": URL, "events": ["job.failed"], "secret": SECRET}
    found = refusals(lambda broken: from_job(ASKED | {"webhook": broken}), said, at="webhook")
    assert len(found) > 40
    assert {error.code for error in found} <= {"invalid_request", "unknown_field"}
    assert not any(SECRET in error.message for error in found)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "example.com", "", "https://", "https://user:pw@example.com/",
        "http://127.0.0.1/", "http://localhost/", "http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/",
        "http://0x7f.1/", "https://example.com:22/", "http://printer.local/", "http://a.example\\@127.0.0.1/",
    ],
)  # fmt: skip
def test_an_address_that_may_not_be_called_is_refused_at_the_door(url: str) -> None:
    settings = Settings(webhook=WebhookSettings(secret=SecretStr(SECRET)))
    for webhook in (to_webhook(url), Webhook(url, secret=SecretStr(SECRET))):
        assert webhook is not None
        with pytest.raises(CallerError) as refused:
            webhook_target(webhook, Caller(LOCAL), settings)
        assert (refused.value.code, refused.value.param) == ("invalid_webhook_url", webhook.param)
        assert "pw" not in refused.value.message


def test_what_the_operator_allows_may_be_called() -> None:
    settings = Settings(fetch=FetchSettings(allow=("127.0.0.1",)))
    webhook = Webhook("http://127.0.0.1:9000/x?y=1", secret=SecretStr(SECRET))
    target = webhook_target(webhook, Caller(LOCAL), settings)
    assert isinstance(target, Webhook)
    assert target.host == "127.0.0.1:9000"


def test_the_job_shows_its_webhook_and_how_it_was_told() -> None:
    tries = (Delivery("job.failed", 1500, 20, None, "no"), Delivery("job.failed", 2500, 10, 204, attempt=2))
    told = to_hook(Hook(URL, ("job.failed",), tries, 2510))
    assert told["deliveries"] == [
        {"event": "job.failed", "attempt": 1, "at": 1.5, "ms": 20, "status": None, "error": "no"},
        {"event": "job.failed", "attempt": 2, "at": 2.5, "ms": 10, "status": 204, "error": None},
    ]
    assert (told["delivered_at"], told["next_try_at"]) == (2.51, None)


@pytest.mark.parametrize("named", ["job.failed", "x"])
def test_a_long_list_of_events_is_refused_unread(named: str) -> None:
    with pytest.raises(CallerError, match="100") as refused:
        from_job(ASKED | {"webhook": {"url": URL, "events": [named] * 101}})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "webhook.events")
