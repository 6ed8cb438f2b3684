"""An id of another kind is not found, on whatever path it is named."""

import pytest
from fastapi.routing import APIRoute
from openai import AsyncOpenAI

from api.routes import batches, files, jobs, page_jobs, responses
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import begun, line
from tests.support.documents import pdf

pytestmark = pytest.mark.usefixtures("quick_batches")


async def test_an_id_of_another_kind_is_nowhere(deployment: Deployment, client: AsyncOpenAI) -> None:
    file = (await client.files.create(file=("a.pdf", pdf(["one"])), purpose="user_data")).id
    batch = (await begun(client, [line("a", "one")])).id
    asked = {"model": "sightline/tiny", "input": {"prompt": "What?"}}
    paged = {**asked, "document": {"file": file, "per": "page"}}
    async with client_of(deployment.app) as http:
        made = [(await http.post("/v1/jobs", json=body)).json()["id"] for body in (asked, paged)]
        ids = [*made, batch, file, "batch_", "job_0", "file-0", "resp_0", "%2e%2e", "a%2fb", "\u00e9" * 300]
        routes = [
            (method, route.path)
            for router in (batches.router, files.router, page_jobs.router, jobs.router, responses.router)
            for route in router.routes
            if isinstance(route, APIRoute) and "{" in route.path
            for method in sorted(route.methods or ())
        ]
        assert ("GET", "/v1/jobs/batch_{id}/pictures/{n}") in routes
        codes = set[int]()
        for method, path in routes:
            # Last: a job that was deleted is not there for the other paths.
            for id in ids if method != "DELETE" else ("job_0", made[1], batch):
                place = path.replace("batch_{id}", id).replace("{n}", "0")
                place = place.replace("{id}", id).replace("{id:model}", id)
                reply = await http.request(method, place, headers={"last-event-id": "999"})
                assert reply.status_code < 500, (method, place, reply.text)
                codes.add(reply.status_code)
    assert codes >= {200, 404}
