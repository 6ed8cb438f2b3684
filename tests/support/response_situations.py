"""How one of OpenAI's responses may stand when a call comes; see `situations`."""

from tests.support.behaviour_situation import Situation, question
from tests.support.situations import When, answers, fail, finish, forget, in_turn, no_worker, ready

PATH = "/v1/responses"


async def ask(situation: Situation) -> None:
    reply = await situation.client.post(PATH, json=question(PATH) | {"background": True})
    situation.known = reply.json()["id"]


async def cancel(situation: Situation) -> None:
    await situation.client.post(f"{PATH}/{situation.known}/cancel")


async def ask_and_wait(situation: Situation) -> None:
    situation.known = (await situation.client.post(PATH, json=question(PATH))).json()["id"]


RESPONSES: dict[str, When] = {
    "there is no such response": no_worker,
    "the response waits": in_turn(ready, ask),
    "the response has completed": in_turn(ready, ask, finish),
    "the response was cancelled": in_turn(ready, ask, cancel),
    "the response has failed": in_turn(ready, ask, fail),
    "the response was waited for": in_turn(answers, ask_and_wait),
    "the response is no longer kept": in_turn(ready, ask, finish, forget),
}
