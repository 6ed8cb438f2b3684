"""A question about a picture comes back answered, whatever door it came through."""

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import SLOW, TINY
from tests.support.circle_questions import BLUE, COLOUR, GREEN, RED, Colour, circle
from tests.support.clients import Api


@pytest.mark.parametrize(("colour", "word"), [(RED, "red"), (BLUE, "blue")])
def test_the_model_route_names_the_colour_of_a_circle_and_answers_again_from_the_cache(
    api: Api, colour: Colour, word: str
) -> None:
    body = {"inputs": {"image": base64.b64encode(circle(colour)).decode(), "text": COLOUR}}
    first, again = (api.post(f"/models/{TINY}", json=body) for _ in range(2))
    assert first.status_code == 200, first.text
    assert word in first.json()[0]["generated_text"].lower()
    assert first.headers["x-cache"] == "MISS"
    assert again.json() == first.json()
    assert again.headers["x-cache"] == "HIT"
    assert again.headers["x-job-id"] == first.headers["x-job-id"]


def test_the_model_is_batched_and_many_callers_at_once_read_their_own_answers(api: Api) -> None:
    status = api.get(f"/status/{TINY}").json()
    assert (status["engine"], status["engine_reason"][:11]) == ("continuous", "certified: ")
    asked = [
        (("red", RED), ("blue", BLUE), ("green", GREEN))[number % 3] + (30 + 8 * number,)
        for number in range(12)
    ]

    def ask(colour: Colour, at: int) -> str:
        image = base64.b64encode(circle(colour, at=at)).decode()
        reply = api.post(f"/models/{TINY}", json={"inputs": {"image": image, "text": COLOUR}})
        return str(reply.json()[0]["generated_text"]).lower()

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda one: ask(*one[1:]), asked))
    assert [word in answer for (word, *_), answer in zip(asked, answers, strict=True)] == [True] * len(asked)


def test_two_callers_with_one_question_at_once_share_one_computation(api: Api) -> None:
    # More than three seconds: so much later the other one may come.
    body = {"inputs": " ".join(f"shared{n}" for n in range(35)), "parameters": {"seed": 1}}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(api.post, f"/models/{SLOW}", json=body) for _ in range(2)]
        replies = [reply.result() for reply in asked]
    assert [r.json() for r in replies] == [[{"generated_text": body["inputs"]}]] * 2
    assert sorted(r.headers["x-cache"] for r in replies) == ["COALESCED", "MISS"]


def test_a_job_is_accepted_at_once_and_a_long_poll_brings_its_end(api: Api) -> None:
    picture = base64.b64encode(circle(RED, at=70)).decode()
    reply = api.post("/v1/jobs", json={"model": TINY, "input": {"prompt": COLOUR, "image": picture}})
    assert reply.status_code == 202
    assert reply.headers["location"] == reply.json()["urls"]["self"]
    ended = api.get(reply.headers["location"], params={"wait": 30}).json()
    assert ended["status"] == "succeeded"
    assert "red" in ended["result"]["text"].lower()
    assert [a["outcome"] for a in ended["attempts"]] == ["succeeded"]


def test_the_job_door_and_the_model_door_share_their_answers(api: Api) -> None:
    picture = base64.b64encode(circle(GREEN, at=80)).decode()
    job = api.ended(api.submit(model=TINY, input={"prompt": COLOUR, "image": picture}))
    reply = api.post(f"/models/{TINY}", json={"inputs": {"image": picture, "text": COLOUR}})
    assert reply.headers["x-cache"] == "HIT"
    assert reply.json() == [{"generated_text": job["result"]["text"]}]
