"""What goes wrong in a running service, as OpenAI's clients and the AI SDK meet it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests.contract.conftest import ECHO, FAILING, LONG, UNSERVED
from tests.support.clients import PATIENCE_S, Api, until
from tests.support.keys import ADMIN, bearer
from tests.support.node import Node
from tests.support.openai_clients import AI, JS, KINDS, Kind, openai_client

BIG = "x" * 27_000_000
CHAT: dict[str, Any] = {"model": ECHO, "messages": [{"role": "user", "content": "What is this?"}]}


def question(text: str, **more: Any) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "user", "content": text}], **more}


def key(keyed: str, **said: Any) -> str:
    """A new key's secret."""
    body = {"name": "one's", "caller": "one", **said}
    reply = httpx.post(f"{keyed}/v1/admin/keys", json=body, headers=bearer(ADMIN), timeout=PATIENCE_S)
    return str(reply.json()["secret"])


def wrong(keyed: str) -> str:  # noqa: ARG001
    return "sl_wrong"


def reader(keyed: str) -> str:
    return key(keyed, scopes=["read"])


def used_up(keyed: str) -> str:
    """A key whose only request of this minute was made."""
    secret = key(keyed, requests_per_minute=1)
    httpx.get(f"{keyed}/v1/models", headers=bearer(secret), timeout=PATIENCE_S).raise_for_status()
    return secret


def named(keyed: str) -> str:
    """A key whose caller has sent another question under the Idempotency-Key of NAMED."""
    secret = key(keyed)
    asked = {"json": question("Another?"), "headers": bearer(secret) | NAMED, "timeout": PATIENCE_S}
    httpx.post(f"{keyed}/v1/chat/completions", **asked).raise_for_status()  # type: ignore[arg-type]
    return secret


class Cause(NamedTuple):
    """What an error is raised as, and what is asked, with which key, to meet it."""

    raised: type[openai.APIStatusError]
    code: str
    param: str | None
    asked: dict[str, Any]
    secret: Callable[[str], str] = key


NAMED = {"idempotency-key": "spent"}
WAITING = question("Hi", model=UNSERVED, extra_headers={"x-wait-for-model": "true"})
CAUSES: dict[int, Cause] = {
    400: Cause(openai.BadRequestError, "invalid_request", "temperature", question("Hi", temperature="hot")),
    401: Cause(openai.AuthenticationError, "invalid_api_key", None, CHAT, wrong),
    403: Cause(openai.PermissionDeniedError, "insufficient_scope", None, CHAT, reader),
    404: Cause(openai.NotFoundError, "model_not_found", "model", question("Hi", model="nobody/none")),
    413: Cause(openai.APIStatusError, "payload_too_large", None, question(BIG)),
    422: Cause(
        openai.UnprocessableEntityError,
        "idempotency_mismatch",
        "Idempotency-Key",
        question("Hi", extra_headers=NAMED),
        named,
    ),
    429: Cause(openai.RateLimitError, "rate_limited", None, CHAT, used_up),
    500: Cause(openai.InternalServerError, "attempts_exhausted", None, question(FAILING)),
    503: Cause(openai.InternalServerError, "no_worker", None, question("Hi", model=UNSERVED)),
    504: Cause(openai.InternalServerError, "wait_exceeded", None, WAITING),
}
"""By status."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", CAUSES)
def test_python_raises_its_own_exception(keyed: str, status: int, kind: Kind) -> None:
    cause = CAUSES[status]
    secret = cause.secret(keyed)
    with openai_client(kind, keyed, api_key=secret) as client, pytest.raises(cause.raised) as raised:
        client.chat.completions.create(**cause.asked)
    error = raised.value
    assert (type(error), error.status_code) == (cause.raised, status)
    assert (error.code, error.param) == (cause.code, cause.param)
    assert error.request_id


def test_a_key_for_another_question_is_refused_and_not_asked_again(client: Any) -> None:
    named = {"extra_headers": {"idempotency-key": f"k-{type(client).__name__}"}}
    client.chat.completions.create(**CHAT, **named)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(**question("And this?"), **named)
    assert refused.value.code == "idempotency_mismatch"


def cancel_all(url: str, count: int) -> None:
    """What waits for the model that nobody serves, once so many do."""
    with Api(url) as api:
        waiting = {"status": "queued", "model": UNSERVED}
        until(lambda: len(api.get("/v1/jobs", params=waiting).json()["data"]) == count)
        for job in api.get("/v1/jobs", params=waiting).json()["data"]:
            api.post(f"/v1/jobs/{job['id']}/cancel")


def kept(name: str) -> dict[str, str]:
    """The job under this name goes on though its caller leaves."""
    return {"x-wait-for-model": "true", "idempotency-key": name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_somebody_cancelled_is_a_conflict_and_not_asked_again(url: str, kind: Kind) -> None:
    asked = question("Is anybody there?", model=UNSERVED, extra_headers=kept(f"left-{kind}"))
    with openai_client(kind, url, max_retries=2) as client:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(max_retries=0).chat.completions.create(**asked, timeout=2)
        cancel_all(url, 1)
        with pytest.raises(openai.ConflictError) as cancelled:
            client.chat.completions.create(**asked)
    assert (cancelled.value.code, cancelled.value.status_code) == ("job_cancelled", 409)


LEFT = """
globalThis.asks = [
  (timeout) => client.chat.completions.create({ model, messages }, { headers: named[0], timeout }),
  (ms) => {
    const abortSignal = AbortSignal.timeout(ms);
    return generateText({ model: provider(model), messages, headers: named[1], abortSignal, maxRetries: 0 });
  },
];
return Promise.all(asks.map((ask) => ask(2000).catch(({ constructor }) => constructor.name)));
"""
BACK = """
const told = ({ constructor, status, statusCode }) => [constructor.name, status ?? statusCode];
return Promise.all(asks.map((ask) => ask(60_000).catch(told)));
"""


@pytest.mark.node
def test_a_job_that_somebody_cancelled_is_a_conflict_in_javascript(url: str, node: Node) -> None:
    asked = question("Is anybody there?", model=UNSERVED)
    left = node.run(JS + AI + LEFT, url=url, named=[kept("left-js"), kept("left-ai")], **asked)
    assert left == ["APIConnectionTimeoutError", "DOMException"]
    cancel_all(url, len(left))
    assert node.run(BACK) == [["ConflictError", 409], ["APICallError", 409]]


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_python_repeats_after_its_own_time_out_is_computed_once(url: str, kind: Kind) -> None:
    asked = question(f"{LONG[:600]} {kind}")
    with openai_client(kind, url, timeout=1, max_retries=8) as client:
        reply = client.chat.completions.with_raw_response.create(**asked)
    with Api(url) as api:
        attempts = api.job(reply.headers["x-job-id"])["attempts"]
    assert reply.headers["x-cache"] in ("COALESCED", "HIT")
    assert [attempt["outcome"] for attempt in attempts] == ["succeeded"]


CAUGHT = """
const found = {};
for (const [status, { asked, key }] of Object.entries(causes)) {
  const { extra_headers: headers, ...body } = asked;
  if (status === "413") body.messages[0].content = "x".repeat(size);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const caught = await client.chat.completions.create(body, { headers }).catch((error) => error);
  const own = createOpenAICompatible({ name: "sightline", baseURL: `${url}/v1`, apiKey: key });
  const { model, messages: [{ content: prompt }], temperature } = body;
  const more = { providerOptions: { sightline: { temperature } }, maxRetries: 0, headers };
  const other = await generateText({ model: own(model), prompt, ...more }).catch((error) => error);
  const { constructor, status: met, code, param } = caught;
  found[status] = [constructor.name, met, code, param, other.constructor.name, other.statusCode];
}
return found;
"""


@pytest.mark.node
def test_javascript_throws_its_own_exceptions(keyed: str, node: Node) -> None:
    causes = {
        status: {"asked": CHAT if status == 413 else cause.asked, "key": cause.secret(keyed)}
        for status, cause in CAUSES.items()
    }
    # The key of a minute's only request has none left for either client.
    found = node.run(JS + AI + CAUGHT, url=keyed, causes=causes, size=len(BIG))
    assert {int(status): told[:4] for status, told in found.items()} == {
        status: [cause.raised.__name__.replace("APIStatus", "API"), status, cause.code, cause.param]
        for status, cause in CAUSES.items()
    }
    assert {int(status): told[4:] for status, told in found.items()} == {
        status: ["APICallError", status] for status in CAUSES
    }
