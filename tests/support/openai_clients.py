"""OpenAI's client in Python, sync and async under one way to call it, and what JavaScript's begin with."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import openai

Kind = Literal["OpenAI", "AsyncOpenAI"]
KINDS: tuple[Kind, ...] = ("OpenAI", "AsyncOpenAI")

JS = """
const { default: OpenAI, toFile } = await load("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
"""
"""Before JavaScript that knows `url`, the service's root: then it knows `client` too."""

AI = """
const { generateText, streamText, tool, jsonSchema, isStepCount, Output } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const provider = createOpenAICompatible({
  name: "sightline",
  baseURL: `${url}/v1`,
  apiKey: "any",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
"""
"""As JS, for the AI SDK; its retries and their pauses are its own."""

SKIPPED_PAUSES = """
const pauses = [];
const trueTimeout = globalThis.setTimeout;
globalThis.setTimeout = (call, ms, ...more) => {
  // Node's own timers go on; what is longer is a client's time limit.
  const skipped = new Error().stack.split("\\n")[2].includes("node_modules") && ms < 100_000;
  if (skipped) pauses.push(ms);
  return trueTimeout(call, skipped ? 0 : ms, ...more);
};
try {
"""

RESTORED_PAUSES = """
} finally {
  globalThis.setTimeout = trueTimeout;
}
"""


def unhurried(source: str) -> str:
    """JavaScript whose clients ask again at once: `pauses` are the ms that they would have waited."""
    return SKIPPED_PAUSES + source + RESTORED_PAUSES


@contextmanager
def openai_client(kind: Kind, url: str, **said: Any) -> Iterator[Any]:
    """The client of that kind for the service at `url`; the async one is called as the other is."""
    options: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0, **said}
    if kind == "OpenAI":
        with openai.OpenAI(**options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        found = openai.AsyncOpenAI(**options)
        try:
            yield Awaited(found, runner)
        finally:
            runner.run(found.close())


class Awaited:
    """Something of the async client: what it returns is awaited, what it iterates comes one by one."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return Awaited(found, self._runner) if callable(found) or _is_resource(found) else found

    def __call__(self, *args: Any, **said: Any) -> Any:
        found = self._target(*args, **said)
        if inspect.iscoroutine(found):
            found = self._runner.run(found)
        return Awaited(found, self._runner) if _is_asynchronous(found) else found

    def __iter__(self) -> Iterator[Any]:
        steps = aiter(self._target)
        while (step := self._runner.run(_next(steps))) is not _END:
            yield step

    def __enter__(self) -> Any:
        return Awaited(self._runner.run(self._target.__aenter__()), self._runner)

    def __exit__(self, *raised: Any) -> None:
        self._runner.run(self._target.__aexit__(*raised))


_END = object()


async def _next(steps: Any) -> Any:
    return await anext(steps, _END)


def _is_resource(found: Any) -> bool:
    return type(found).__module__.startswith("openai.resources")


def _is_asynchronous(found: Any) -> bool:
    return hasattr(found, "__aiter__") or hasattr(found, "__aenter__")
