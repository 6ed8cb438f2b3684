"""One caller with OpenAI's client: uploads a file, makes a batch of it, watches it, fetches what it wrote."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import openai
from openai.types import Batch

from benchmarks.batches.lines import ENDPOINT, Lines, Verdict, judge, read

POLL_S = 0.5
ENDED = ("completed", "failed", "expired", "cancelled")
RETRIES = 12
"""Enough for the API process, which is killed meanwhile, to return after some seconds."""
LIMIT_S = 1800


@dataclass(frozen=True)
class Progress:
    """A batch at a moment of the monotonic clock."""

    at: float
    status: str
    done: int


@dataclass
class BatchRun:
    """What one batch came to for its caller: times in seconds on the monotonic clock, sizes in bytes."""

    began: float
    lines: Lines
    batch: str = ""
    input_bytes: int = 0
    upload_s: float = 0.0
    output_bytes: int = 0
    download_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    steps: list[Progress] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    def spent_s(self, status: str) -> float:
        """Time in one stage, as its caller saw it."""
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return sum(after.at - before.at for before, after in pairs if before.status == status)

    def since(self, status: str) -> float:
        """When it was first seen with this status."""
        return next(step.at for step in self.steps if step.status == status)


Look = Callable[[BatchRun], Awaitable[None]]
"""Called with the batch after each poll."""


class BatchClient:
    """Its files lie in `folder` meanwhile."""

    def __init__(self, port: int, folder: Path) -> None:
        url = f"http://127.0.0.1:{port}/v1"
        self._client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=RETRIES, timeout=LIMIT_S)
        self._folder = folder

    async def run(self, lines: Lines, path: Path, look: Look) -> BatchRun:
        """A batch over the file at `path`, from its upload until its rows were checked."""
        batch_run = BatchRun(time.monotonic(), lines, input_bytes=_size(path))
        file = await self._client.files.create(file=path, purpose="batch")
        batch_run.upload_s = time.monotonic() - batch_run.began
        batch = await self._client.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h"
        )
        ended = await self._until_ended(batch, batch_run, look)
        counts = ended.request_counts
        batch_run.counts = {} if counts is None else counts.to_dict(mode="json")  # type: ignore[assignment]
        batch_run.verdict = await self._verdict(ended, batch_run)
        return batch_run

    async def cancel(self, batch: str) -> None:
        await self._client.batches.cancel(batch)

    async def aclose(self) -> None:
        await self._client.close()

    async def _until_ended(self, batch: Batch, batch_run: BatchRun, look: Look) -> Batch:
        batch_run.batch = batch.id
        while True:
            counts = batch.request_counts
            done = 0 if counts is None else counts.completed + counts.failed
            batch_run.steps.append(Progress(time.monotonic(), batch.status, done))
            await look(batch_run)
            if batch.status in ENDED:
                return batch
            await asyncio.sleep(POLL_S)
            batch = await self._client.batches.retrieve(batch.id)

    async def _verdict(self, batch: Batch, batch_run: BatchRun) -> Verdict:
        began = time.monotonic()
        good, bad = [
            await self._download(batch.id, kind, id)
            for kind, id in (("output", batch.output_file_id), ("error", batch.error_file_id))
        ]
        batch_run.download_s = time.monotonic() - began
        batch_run.output_bytes = _size(good) + _size(bad)
        cut = batch.status == "cancelled"
        return await asyncio.to_thread(
            judge, batch_run.lines, read(good), read(bad), batch_run.counts, cut=cut
        )

    async def _download(self, batch: str, kind: str, file: str | None) -> Path:
        """A file that was not made is an empty one."""
        path = self._folder / f"{batch}_{kind}.jsonl"
        path.touch()
        if file is not None:
            async with self._client.files.with_streaming_response.content(file) as answer:
                await answer.stream_to_file(path)
        return path


def _size(path: Path) -> int:
    return path.stat().st_size
