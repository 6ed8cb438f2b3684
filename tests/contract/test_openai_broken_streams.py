"""A worker's death in mid-stream, alone with its question, is an error to every reader and never an end."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import openai
import pytest

from tests.contract.conftest import ECHO, LONG
from tests.support.clients import until
from tests.support.node import Node
from tests.support.openai_clients import AI, JS, KINDS, Kind, openai_client
from tests.support.patience import PATIENCE_S
from tests.support.receiver import receiver
from tests.support.service import Service

CODE = "poison"
Reader = Callable[[Any, Callable[[], object]], str | None]
"""Reads a stream, says that it has begun, and returns the code of the error that it ended with."""


def read_chat(client: Any, began: Callable[[], object]) -> str | None:
    messages = [{"role": "user", "content": LONG}]
    chunks = iter(client.chat.completions.create(model=ECHO, messages=messages, stream=True))
    next(chunks)
    began()
    with pytest.raises(openai.APIError) as raised:
        list(chunks)
    return raised.value.code


def read_response(client: Any, began: Callable[[], object]) -> str | None:
    """OpenAI tells a failed response by an event of its own."""
    with client.responses.stream(model=ECHO, input=LONG) as stream:
        events = iter(stream)
        next(event for event in events if event.type == "response.output_text.delta")
        began()
        [last] = [event for event in events if event.type != "response.output_text.delta"]
        with pytest.raises(RuntimeError):
            stream.get_final_response()
    return str(last.response.error.code) if last.type == "response.failed" else None


def _read(url: str, barrier: Barrier, kind: Kind, reader: Reader) -> str | None:
    with openai_client(kind, url) as client:
        # Making a client takes longer than asking with it: all are there before the answer begins.
        barrier.wait(PATIENCE_S)
        return reader(client, partial(barrier.wait, PATIENCE_S))


def test_python_meets_an_error(service: Service) -> None:
    # What asks the same shares a run, and so its end.
    all_of_them = [(kind, reader) for kind in KINDS for reader in (read_chat, read_response)]
    barrier = Barrier(len(all_of_them) + 1)
    with ThreadPoolExecutor(len(all_of_them)) as pool:
        reading = [pool.submit(_read, service.url(), barrier, *each) for each in all_of_them]
        for _ in ("made", "begun"):
            barrier.wait(PATIENCE_S)
        service.kill(ECHO)
        ends = [each.result() for each in reading]
    assert ends == [CODE] * len(all_of_them)


READ = """
let left = readers.length;
async function began() {
  left -= 1;
  if (left === 0) await fetch(hook, { method: "POST", body: "{}" });
}
const messages = [{ role: "user", content: long }];
const streams = {
  chat: () => client.chat.completions.create({ model, messages, stream: true }),
  response: () => client.responses.create({ model, input: long, stream: true }),
};
async function openai(name) {
  let first = true;
  let last;
  try {
    for await (const event of await streams[name]()) {
      if (first && (name !== "response" || event.type === "response.output_text.delta")) {
        first = false;
        await began();
      }
      last = event;
    }
  } catch (error) {
    return [error.constructor.name, error.code];
  }
  return [last.type, last.response?.error.code];
}
async function ai() {
  const met = [];
  let first = true;
  const { fullStream } = streamText({ model: provider(model), prompt: long, onError: () => {} });
  for await (const part of fullStream) {
    if (first && part.type === "text-delta") {
      first = false;
      await began();
    }
    if (part.type === "error") met.push(part.error.message ?? part.error);
  }
  return met;
}
return Promise.all(readers.map((name) => (name === "ai" ? ai() : openai(name))));
"""


@pytest.mark.node
def test_javascript_meets_an_error(service: Service, node: Node) -> None:
    readers = ("chat", "response", "ai")
    with receiver() as hook, ThreadPoolExecutor(1) as pool:
        names = {"url": service.url(), "model": ECHO, "long": LONG, "hook": hook.url, "readers": readers}
        reading = pool.submit(node.run, JS + AI + READ, **names)
        until(lambda: bool(hook.calls))
        service.kill(ECHO)
        *ends, ai = reading.result()
    assert ends == [["APIError", CODE], ["response.failed", CODE]]
    assert len(ai) == 1, "the AI SDK has its own words"
