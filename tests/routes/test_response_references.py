"""Items of earlier answers that are named and not sent, as the AI SDK does by itself."""

import json
from typing import Any

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.responses import LATER, PATH, answered, begun
from tests.support.tools import WEATHER

WROTE = 'Let me look.<tool_call>{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}</tool_call>'
FUNCTION = {"type": "function", **WEATHER["function"]}
AGAIN = {"role": "user", "content": [{"type": "input_text", "text": "And tomorrow?"}]}


def reference(id: str) -> dict[str, str]:
    return {"type": "item_reference", "id": id}


async def test_a_conversation_of_the_ai_sdk_goes_on_with_what_was_called(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        deployment.worker.beat(tools="hermes")
        one = (await client.post(PATH, json=LATER | {"tools": [FUNCTION]})).json()["id"]
        deployment.worker.succeed(deployment.worker.take(), WROTE, syntax="hermes")
        output = (await client.get(f"{PATH}/{one}")).json()["output"]
        given = {"type": "function_call_output", "call_id": output[1]["call_id"], "output": "Rain."}
        asked = {"role": "user", "content": "What is this?"}
        by_name = [asked, *(reference(item["id"]) for item in output), given, AGAIN]
        await client.post(PATH, json=LATER | {"input": by_name, "tools": [FUNCTION]})
        named = json.loads(deployment.worker.take().request)
        whole = await client.post(
            PATH, json=LATER | {"input": [asked, *output, given, AGAIN], "tools": [FUNCTION]}
        )

    assert [m["role"] for m in named["messages"]] == ["user", "assistant", "tool", "user"]
    assert named["messages"][1]["parts"][0]["text"] == "Let me look."
    assert [call["name"] for call in named["messages"][1]["calls"]] == ["weather"]
    assert whole.headers["x-cache"] == "COALESCED", "it is the same question as the one sent whole"


async def test_what_cannot_be_named_is_told_by_its_place(deployment: Deployment) -> None:
    async def told(*items: Any) -> tuple[int, str, str]:
        reply = await client.post(PATH, json=LATER | {"input": [*items, AGAIN]})
        error = reply.json()["error"]
        return reply.status_code, error["code"], error["param"]

    async with client_of(deployment.app) as client:
        waiting = (await begun(deployment.worker, client)).removeprefix("resp_")
        on_waiting = await told(reference(f"msg_{waiting}"))
        await client.post(f"{PATH}/resp_{waiting}/cancel")
        on_cancelled = await told(reference(f"msg_{waiting}"))
        done = (await answered(deployment.worker, client, input="Who?")).removeprefix("resp_")
        unknown = [await told(AGAIN, reference(id)) for id in (f"fc_{done}_0", "msg_0", "rs_1_2", "", "_")]
        many = await told(*[reference(f"msg_{done}")] * 257)

    assert on_waiting == (409, "job_not_ended", "input[0].id")
    assert on_cancelled == (400, "invalid_request", "input[0].id")
    assert unknown == [(404, "response_not_found", "input[1].id")] * 5
    assert many == (400, "invalid_request", "input")


async def test_an_answer_that_was_not_to_be_kept_is_named_by_nobody(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        one = (await begun(deployment.worker, client, store=False)).removeprefix("resp_")
        reply = await client.post(PATH, json=LATER | {"input": [reference(f"msg_{one}"), AGAIN]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
