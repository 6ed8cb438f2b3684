"""A clock in the place of vLLM's device: vLLM schedules as ever, and its device only takes its time.

vLLM loads `install` as a plugin, in its own server and behind ours: so what either does beside the device is
measured where the device takes no core. Its times are those of the H100 with four billion parameters of
`benchmarks.preparing`, and every token is the same. Written for vLLM 0.32.
"""

import os
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.uniproc_executor import AsyncOutputFuture, UniProcExecutor
from vllm.v1.outputs import AsyncModelRunnerOutput, LogprobsLists, ModelRunnerOutput

from benchmarks.batching.plan import BUSY_FILE, BUSY_S

STEP_S, RATE = 0.008, 20_000
"""Seconds of a step, and tokens of prompts a second."""
TOKEN = 500
"""A word of `mid`."""
MEMORY = 2**30


def install() -> None:
    """As one of `vllm.general_plugins`. Steps are scheduled while the one before computes, as on a GPU."""
    Executor.get_class = staticmethod(lambda _: ClockExecutor)
    of_the_cpu = CpuPlatform.check_and_update_config.__func__

    def as_on_a_gpu(platform: type[CpuPlatform], config: Any) -> None:
        of_the_cpu(platform, config)
        config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = classmethod(as_on_a_gpu)


class Output(AsyncModelRunnerOutput):  # type: ignore[misc]
    """What a step drew, once it is `due`."""

    def __init__(self, output: Any, due: float) -> None:
        self._output, self._due = output, due

    def get_output(self) -> Any:
        if (rest := self._due - time.perf_counter()) > 0:
            time.sleep(rest)
        return self._output


class ClockExecutor(UniProcExecutor):  # type: ignore[misc]
    """Loads the model, whose sizes vLLM's scheduler needs, and never computes with it."""

    def _init_executor(self) -> None:
        super()._init_executor()
        self._done, self._lengths = dict[str, int](), dict[str, int]()
        self._due = self._busy_s = 0.0
        self._busy_file = os.open(os.environ[BUSY_FILE], os.O_WRONLY | os.O_CREAT)
        self._work(0)
        self._step: Output | None = None

    def compile_or_warm_up_model(self) -> None:
        """There is nothing to compile."""

    def determine_available_memory(self) -> list[int]:
        return [MEMORY]

    def execute_model(self, scheduled: Any, non_block: bool = False) -> Any:
        """None where a step began, whose tokens `sample_tokens` gives, as vLLM's model runners do."""
        self._step = self._begin(scheduled)
        if not scheduled.total_num_scheduled_tokens:
            return self.sample_tokens(None, non_block)
        began = Future[None]()
        began.set_result(None)
        return began if non_block else None

    def sample_tokens(self, grammar: Any, non_block: bool = False) -> Any:  # noqa: ARG002
        drawn = AsyncOutputFuture(self._step, single_value=True)
        return drawn if non_block else drawn.result()

    def _begin(self, scheduled: Any) -> Output:
        for name in scheduled.finished_req_ids:
            self._done.pop(name, None)
            self._lengths.pop(name, None)
        for new in scheduled.scheduled_new_reqs:
            self._done[new.req_id], self._lengths[new.req_id] = new.num_computed_tokens, new.prompt_len
        counts = scheduled.num_scheduled_tokens
        prompts = sum(count for name, count in counts.items() if self._done[name] < self._lengths[name])
        for name, count in counts.items():
            self._done[name] += count
        # A prompt of which a part is left draws nothing.
        tokens = [[TOKEN] if self._done[name] >= self._lengths[name] else [] for name in counts]
        took = prompts / RATE + STEP_S * any(tokens)
        self._due = max(self._due, time.perf_counter()) + took
        self._work(took)
        return Output(_drawn(list(counts), tokens), self._due)

    def _work(self, seconds: float) -> None:
        self._busy_s += seconds
        os.pwrite(self._busy_file, BUSY_S.pack(self._busy_s), 0)


def _drawn(names: list[str], tokens: list[list[int]]) -> Any:
    """With likelihoods, for the requests that want some."""
    shape = len(names), 2
    likely = LogprobsLists(
        np.full(shape, TOKEN, np.int32), np.full(shape, -1, np.float32), np.zeros(len(names), np.int32)
    )
    return ModelRunnerOutput(names, {name: at for at, name in enumerate(names)}, tokens, likely)
