"""A newcomer who follows the walks of docs/architecture.md meets the functions that really run."""

import asyncio

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.walks import missed, recorded, walk

CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}


async def test_the_walk_of_a_chat_is_the_one_that_a_question_takes(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        with recorded() as calls:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
            deployment.worker.succeed(await deployment.worker.taken(), "A circle.")
            assert (await asking).status_code == 200
    steps = walk("A chat")
    assert len(steps) > 5
    assert missed(steps, calls) is None
