"""huggingface_hub's clients, unmodified, at every URL they may be given: chats, tasks, health, info."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ECHO, TINY, UNSERVED
from tests.support.circle_questions import COLOUR, GREEN, RED, chat, circle
from tests.support.hf_clients import KINDS, Kind, ask, joined, turn
from tests.support.pictures import answering, origin

AT_THE_ROOT: list[tuple[str, str, str | None]] = [
    ("base_url", "", ECHO),
    ("base_url", "/v1", ECHO),
    ("base_url", "/v1/", ECHO),
]
AT_THE_MODEL: list[tuple[str, str, str | None]] = [
    ("base_url", f"/models/{ECHO}", None),
    ("model", f"/models/{ECHO}", None),
    ("model", f"/hf-inference/models/{ECHO}/v1", None),
    ("model", f"/models/{ECHO}/v1/chat/completions", None),
]
# The async client sends bytes by an argument that its own HTTP library would rather not see used so.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
both = pytest.mark.parametrize("kind", KINDS)


@both
@pytest.mark.parametrize(("option", "path", "model"), AT_THE_ROOT + AT_THE_MODEL)
def test_a_chat_is_answered_whole_and_streamed_at_every_url_a_client_is_given(
    url: str, kind: Kind, option: str, path: str, model: str | None
) -> None:
    where = {option: url + path, "token": "hf_any"}
    whole = ask(kind, where, "chat_completion", turn("one two three"), model=model)
    chunks = ask(kind, where, "chat_completion", turn("one two three"), model=model, stream=True)

    assert whole.choices[0].message.content == "one two three"
    assert (whole.choices[0].finish_reason, whole.model, whole.usage.completion_tokens) == ("stop", ECHO, 3)
    assert joined(chunks) == "one two three"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.content == "", "the page's snippet would print None"


@both
def test_the_shipped_model_answers_about_a_picture_whole_and_streamed(url: str, kind: Kind) -> None:
    where = {"base_url": url, "token": "hf_any"}
    messages = chat(circle(GREEN, at=20))
    whole = ask(kind, where, "chat_completion", messages, model=TINY).choices[0].message.content
    assert "green" in whole.lower()
    assert joined(ask(kind, where, "chat_completion", messages, model=TINY, stream=True)) == whole


@both
def test_a_picture_is_put_into_words_from_bytes_a_file_or_a_url(url: str, kind: Kind, tmp_path: Path) -> None:
    data, path = circle(RED), tmp_path / "circle.png"
    path.write_bytes(data)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(data)
    with origin(answering(head, data)) as served:
        for handed in (data, path, str(path), served.url):
            found = ask(kind, {"model": f"{url}/models/{TINY}"}, "image_to_text", handed)
            assert "red" in found.generated_text.lower()


@pytest.mark.parametrize("path", ["", "/", "/v1", f"/models/{TINY}/v1"])
def test_a_client_made_for_chats_may_send_a_picture_as_well(url: str, path: str) -> None:
    found = ask("InferenceClient", {"base_url": url + path}, "image_to_text", circle(RED))
    assert "red" in found.generated_text.lower()


@both
@pytest.mark.parametrize("task", ["visual_question_answering", "document_question_answering"])
def test_a_question_about_a_picture_has_an_answer_and_a_score(url: str, kind: Kind, task: str) -> None:
    where = {"model": f"{url}/models/{TINY}"}
    [answer] = ask(kind, where, task, circle(RED), COLOUR, top_k=1)
    assert "red" in answer.answer.lower()
    assert 0 <= answer.score <= 1


@both
def test_a_text_is_generated_whole_and_token_by_token_on_the_raw_route(url: str, kind: Kind) -> None:
    where = {"model": f"{url}/models/{ECHO}"}
    asked: dict[str, Any] = {"max_new_tokens": 3, "stop": ["five"], "seed": 1, "return_full_text": False}
    whole = ask(kind, where, "text_generation", "one two three four", **asked)
    texts = ask(kind, where, "text_generation", "one two three four", **asked, stream=True)

    assert whole == "".join(texts) == "one two three"


@both
def test_the_details_of_a_text_are_its_tokens_and_why_it_ended(url: str, kind: Kind) -> None:
    where = {"model": f"{url}/models/{ECHO}"}
    asked: dict[str, Any] = {"details": True, "max_new_tokens": 3}
    found = ask(kind, where, "text_generation", "one two three four", **asked)
    chunks = ask(kind, where, "text_generation", "one two three four", **asked, stream=True)
    cut = ask(kind, where, "text_generation", "one two", details=True, stop=["two"]).details
    done = ask(kind, where, "text_generation", "one two", details=True, stop=["three"]).details

    assert "".join(token.text for token in found.details.tokens) == found.generated_text == "one two three"
    assert [token.id for token in found.details.tokens] == [0, 1, 2]
    assert {token.logprob for token in found.details.tokens} == {0}
    assert (found.details.finish_reason, found.details.generated_tokens) == ("length", 3)
    assert {chunk.token.logprob for chunk in chunks} == {0}
    told = chunks[-1].details
    assert (told.finish_reason, told.generated_tokens, told.input_length) == ("length", 3, 4)
    assert (cut.finish_reason, done.finish_reason) == ("stop_sequence", "eos_token")


@both
def test_a_client_learns_whether_a_model_is_there_and_what_it_is(url: str, kind: Kind) -> None:
    def asked(method: str, path: str) -> Any:
        return ask(kind, {"provider": "hf-inference", "model": url + path}, method)

    assert [asked("health_check", path) for path in ("", f"/models/{ECHO}")] == [True, True]
    assert asked("health_check", f"/models/{UNSERVED}") is False
    assert asked("get_endpoint_info", "")["model_id"] == TINY
    assert asked("get_endpoint_info", f"/models/{ECHO}")["state"] == "ready"
    assert asked("get_endpoint_info", f"/models/{UNSERVED}")["state"] == "no_worker"
