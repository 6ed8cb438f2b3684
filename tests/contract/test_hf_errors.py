"""What each error of the service is to a user of huggingface_hub: its class, its words, how many requests."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from huggingface_hub import AsyncInferenceClient, InferenceClient, get_session
from huggingface_hub.errors import GenerationError, HfHubHTTPError, InferenceTimeoutError, UnknownError
from huggingface_hub.utils._http import hf_raise_for_status

from tests.contract.conftest import ECHO, FAILING, LONG, STALLING, TINY, WAKING
from tests.support.clients import Api, until
from tests.support.hf_clients import KINDS, Kind, ask, turn
from tests.support.keys import ADMIN
from tests.support.service import Service
from tests.support.snippets import snippets

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
both = pytest.mark.parametrize("kind", KINDS)


def test_a_text_that_cannot_be_generated_is_an_error_of_text_generation(url: str) -> None:
    with pytest.raises(UnknownError, match="failed on this request"):
        ask("InferenceClient", {"model": f"{url}/models/{ECHO}"}, "text_generation", FAILING)


def test_the_page_s_way_to_ask_again_tells_of_a_drained_model_why_it_does_not(url: str, drained: str) -> None:
    (loop,) = (snippet.code for snippet in snippets("python") if '"retry-after"' in snippet.code)
    with pytest.raises(HfHubHTTPError, match="model_draining"):
        exec(loop.replace("http://127.0.0.1:8000", url).replace(TINY, drained), {})  # noqa: S102


@both
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_s_own_time_limit_is_its_own_error(url: str, kind: Kind, stream: bool) -> None:
    where = {"base_url": url, "timeout": 0.2}
    with pytest.raises(InferenceTimeoutError):
        ask(kind, where, "chat_completion", turn(STALLING), model=ECHO, stream=stream)


@both
def test_who_waits_for_the_model_is_answered_once_it_is_there(service: Service, kind: Kind) -> None:
    where = {"base_url": service.url(), "headers": {"x-wait-for-model": "true", "x-use-cache": "false"}}
    service.processes[WAKING].end()
    with ThreadPoolExecutor(1) as pool, Api(service.url()) as api:
        answer = pool.submit(ask, kind, where, "chat_completion", turn("good morning"), model=WAKING)
        until(lambda: api.get(f"/status/{WAKING}").json()["queued"] == 1)
        service.start(WAKING)
        assert answer.result().choices[0].message.content == "good morning"
    service.processes[WAKING].end()


async def test_a_worker_that_dies_in_mid_stream_is_an_error_to_every_reader(service: Service) -> None:
    """All read one run, each in its own way; none may take what there is for the whole answer."""
    url, question = f"{service.url()}/models/{ECHO}", f"{LONG} then it broke"
    body: Any = {"messages": turn(question), "stream": True}
    with Api(service.url()) as api:
        # Beside work that an earlier caller left, a death would not be blamed on this run.
        until(lambda: not running(api, ECHO))
    with InferenceClient(base_url=url) as client, requests.Session() as session:
        async with AsyncInferenceClient(base_url=url) as other:
            chunks: Any = client.chat_completion(turn(question), stream=True)
            later: Any = await other.chat_completion(turn(question), stream=True)
            tokens = iter(client.text_generation(question, stream=True))
            lines = session.post(f"{url}/v1/chat/completions", json=body, stream=True).iter_lines()
            began = [next(chunks), await anext(later), next(tokens), next(lines)]
            service.kill(ECHO)
            service.start(ECHO)
            for rest in (chunks, tokens):
                with pytest.raises(GenerationError, match="poison"):
                    list(rest)
            with pytest.raises(GenerationError, match="poison"):
                [chunk async for chunk in later]
    assert all(began)
    check_blocks(b"\n".join(lines).strip().split(b"\n\n"))


def running(api: Api, model: str) -> int:
    models = api.get("/v1/admin/fleet").json()["models"]
    return int(next(row["running"] for row in models if row["model"] == model))


def check_blocks(blocks: list[bytes]) -> None:
    """Comments while the worker's lease runs out, no block without data, and the error at the end."""
    assert any(block.startswith(b": ") for block in blocks)
    assert all(block.startswith(b": ") or b"data: " in block for block in blocks)
    assert b'"code":"poison"' in blocks[-1]


def test_a_chat_is_never_answered_with_a_job_that_the_client_would_take_for_an_empty_answer(url: str) -> None:
    where = {"base_url": url, "headers": {"prefer": "respond-async"}}
    found = ask("InferenceClient", where, "chat_completion", turn("one"), model=ECHO)
    assert found.choices[0].message.content == "one"


def test_a_client_s_own_header_replaces_its_token(keyed: str) -> None:
    where = {"base_url": keyed, "token": "hf_other", "headers": {"authorization": f"Bearer: {ADMIN}"}}
    assert ask("InferenceClient", where, "chat_completion", turn("one"), model=ECHO).choices


def test_a_job_that_is_not_there_is_not_taken_for_one_of_the_hub_s(url: str) -> None:
    with pytest.raises(HfHubHTTPError) as raised:
        hf_raise_for_status(get_session().get(f"{url}/v1/jobs/job_{'0' * 32}"))
    assert type(raised.value) is HfHubHTTPError
    assert raised.value.response.json()["code"] == "job_not_found"
