"""A client in thirty lines: several questions at once, each waited for as long as it takes.

pip install httpx
python examples/async_client.py http://127.0.0.1:8000 "What is a queue?" "What is a worker?"
"""

import asyncio
import sys

import httpx


class Sightline:
    def __init__(self, url: str, model: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=90)
        self._model = model

    async def ask(self, prompt: str, **parameters: object) -> str:
        body = {"model": self._model, "input": {"prompt": prompt}, "parameters": parameters}
        job = (await self._http.post("/v1/jobs", json=body)).raise_for_status().json()
        while job["ended_at"] is None:
            job = (await self._http.get(job["urls"]["self"], params={"wait": 60})).raise_for_status().json()
        if job["status"] != "succeeded":
            raise RuntimeError(job["error"]["message"])
        return str(job["result"]["text"])


async def main() -> None:
    client = Sightline(sys.argv[1], model="sightline/tiny")
    for answer in await asyncio.gather(*(client.ask(question) for question in sys.argv[2:])):
        print(answer)


asyncio.run(main())
