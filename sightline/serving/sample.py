"""Asks a first question after a fresh start, to prove that it all works, and prints three commands to try."""

import asyncio
import base64
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from shared import ROOT
from shared.models import Model
from shared.settings import CLIENT_KEY
from sightline.serving.folder import display_path

QUESTION = "What is in this picture?"
# Beside the models file, or else as shipped.
PICTURE = Path("examples/sample.png")


class Sample:
    """The example picture, and the model that is asked about it."""

    def __init__(self, models_file: Path, model: Model) -> None:
        self._model = model
        beside = models_file.resolve().parent / PICTURE
        self._picture = beside if beside.is_file() else ROOT / PICTURE

    async def show(self, client: httpx.AsyncClient, url: str, say: Callable[[str], None]) -> None:
        """Print question, picture and answer, or why there is none, then what to type next."""
        if not self._picture.is_file():
            say(f"no question was asked to try it: there is no {PICTURE} beside the models file")
            return
        picture = display_path(self._picture)
        say(f"\nquestion  {QUESTION}\npicture   {picture}\nanswer    {await self._answer(client)}")
        if url.startswith("https:"):
            # The certificate names the host that callers use, not loopback.
            return
        keyed = "authorization" in client.headers
        tries = commands(url, self._model.id, str(Path(picture).parent), keyed=keyed)
        where = f" ({CLIENT_KEY} holds a key there)" if keyed else ""
        say(f"\nTry, in another terminal{where}:\n\n" + "\n\n".join(tries) + "\n")

    async def _answer(self, client: httpx.AsyncClient) -> str:
        image = base64.b64encode(await asyncio.to_thread(self._picture.read_bytes)).decode()
        body = {"inputs": {"image": image, "text": QUESTION}}
        try:
            reply = await client.post(f"/models/{self._model.id}", json=body, timeout=180)
            answer = reply.json()
            return str(answer[0]["generated_text"]) if reply.is_success else f"none: {answer['error']}"
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            return f"none: {type(error).__name__} {error}"


def commands(url: str, model: str, examples: str, *, keyed: bool = False) -> tuple[str, str, str]:
    """The Hugging Face route with curl, the OpenAI client, and our own command, ready to paste.

    Where keys are asked for they take one from the environment; none is ever printed.
    """
    key = f' -H "authorization: Bearer ${CLIENT_KEY}"' if keyed else ""
    file, script = (shlex.quote(f"{examples}/{name}") for name in (PICTURE.name, "openai_chat.py"))
    body = f"""'{{"inputs":{{"image":"'"$(base64 < {file} | tr -d '\\n')"'","text":"{QUESTION}"}}}}'"""
    python = shlex.quote(_short(sys.executable))
    command = shlex.quote(_short(str(Path(sys.executable).with_name("sightline"))))
    return (
        f"curl {url}/models/{model} -H 'content-type: application/json'{key} -d {body}",
        f"{python} -m pip install -q openai && {python} {script} {url}",
        f"{command} ask '{QUESTION}' {file} --url {url}",
    )


def _short(path: str) -> str:
    """Relative below the working folder; links are not resolved: they tell a venv's python apart."""
    return path.removeprefix(f"{Path.cwd()}/")
