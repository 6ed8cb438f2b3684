"""Runs vLLM's asynchronous engine on an event loop in a thread of its own.

vLLM's scheduler and the model run in child processes that it starts. Only this module and
`logits_processors` import vLLM.
"""

import asyncio
import os
import select
import signal
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import Any, TypeVar

import uvloop

from shared.errors import CallerError, ModelFailed
from worker.engines.base import DeviceBroken, Images
from worker.engines.loading.torch_errors import out_of_memory

T = TypeVar("T")
# vLLM's name for llguidance, the library that our own engines use for formats, too.
FORMATS = "guidance"
CLOSE_S = 5
REASON_LIMIT = 200


def require(model: str) -> None:
    """Raises ModelFailed if vLLM is not installed."""
    if find_spec("vllm") is None:
        raise ModelFailed(
            f"model {model}: its engine is vllm, and vLLM is not installed: docs/vllm.md has the commands, "
            "for an environment of its own"
        )


class Core:
    """vLLM's engine. Any thread may use it, except for the constructor and `close`."""

    def __init__(self, arguments: dict[str, Any], threads: int) -> None:
        """Takes as long as loading the weights. Raises whatever vLLM raises."""
        configure_children(threads, arguments.get("tensor_parallel_size", 1))
        import vllm
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError

        self.version = str(vllm.__version__)
        self._refusal, self._dead = VLLMClientError, EngineDeadError
        self._params, self._structured = SamplingParams, StructuredOutputsParams
        self._delta = RequestOutputKind.DELTA
        config = _config(arguments)
        self.dtype = str(config.model_config.dtype).removeprefix("torch.")
        self.device = str(config.device_config.device_type)
        self.vocabulary = int(config.model_config.get_vocab_size())
        self._numbers = count()
        self._llm = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        # Its children have read it. Here vLLM reads it for each prompt, whose pictures one thread prepares,
        # with no helpers to wait for: its own default.
        os.environ["OMP_NUM_THREADS"] = "1"
        # As in vLLM's own server.
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether vLLM's processes are gone, or can do nothing more."""
        return bool(self._llm.errored)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def render(
        self,
        ids: Sequence[int],
        pictures: Images,
        names: Sequence[str],
        salt: str,
    ) -> dict[str, Any]:
        """A prompt as vLLM takes it, with `prompt_token_ids` that have all placeholders of the pictures.

        What is kept of the prompt is reused under the same `salt` only, what is kept of a picture under the
        same name. Raises ValueError for what the model cannot take.
        """
        prompt: dict[str, Any] = {"prompt_token_ids": list(ids), "cache_salt": salt}
        if pictures:
            prompt["multi_modal_data"] = {"image": list(pictures)}
            prompt["multi_modal_uuids"] = {"image": list(names)}
        try:
            [rendered] = self.submit(self._llm.renderer.render_cmpl_async([prompt])).result()
        except (self._refusal, RuntimeError) as error:
            if out_of_memory(error):
                raise
            raise ValueError(str(error)) from error
        return dict(rendered)

    def generate(
        self, prompt: dict[str, Any], sampling: dict[str, Any], structured: dict[str, str] | None
    ) -> AsyncGenerator[Any, None]:
        """vLLM's outputs, each with what is new, for use on the event loop. Closing it ends the request."""
        params = self._params(
            **sampling,
            output_kind=self._delta,
            structured_outputs=structured and self._structured(**structured),
        )
        # vLLM may write into a prompt, and several answers may share one.
        outputs: AsyncGenerator[Any, None] = self._llm.generate(
            dict(prompt), params, f"row-{next(self._numbers)}"
        )
        return outputs

    @contextmanager
    def faults(self) -> Iterator[None]:
        """vLLM's errors as ours. Raises DeviceBroken, CallerError `invalid_request`."""
        try:
            yield
        except self._dead as error:
            raise DeviceBroken("vLLM's engine process is gone") from error
        except self._refusal as error:
            raise CallerError("invalid_request", str(error)[:REASON_LIMIT]) from None

    def close(self) -> None:
        """End vLLM and the event loop; nothing may be called afterwards."""
        # Before its processes, or vLLM's tasks would take their end for a death.
        self.submit(_end_all()).result(CLOSE_S)
        self._llm.shutdown(timeout=0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        self._loop.close()
        # It complains if it is freed after its own modules.
        del self._llm


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def configure_children(threads: int, ranks: int) -> None:
    """Configure vLLM and its children by the environment; on a CPU they get as many threads as we have.

    Where these are all cores they are bound to them: else vLLM's own processes, which look for news without
    a pause, take up to a seventh of them.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    bound = ",".join(map(str, cores)) if ranks == 1 and threads == len(cores) else "nobind"
    os.environ |= {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "OMP_NUM_THREADS": str(threads),
    }
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", bound)


def _config(arguments: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    if current_platform.is_cpu():
        # Model runner V1 cannot compute a seeded prompt in chunks: its random draws have no offset there.
        arguments = {**arguments, "enable_chunked_prefill": False}
    args = AsyncEngineArgs(**arguments, additional_config=ParentExit(os.getpid()))
    args.structured_outputs_config.backend = FORMATS
    # A step takes as many tokens as with `vllm serve`, without it fewer on large GPUs. It reports nothing.
    config = args.create_engine_config(UsageContext.OPENAI_API_SERVER)
    runner = "V2" if config.use_v2_model_runner else "V1"
    config.model_config.logits_processors = [f"worker.engines.vllm.logits_processors:AnswerProcessor{runner}"]
    return config


@dataclass(frozen=True)
class ParentExit:
    """Passed as `additional_config` in vLLM's configuration: it works in each process that unpickles it."""

    pid: int
    """The worker's process id."""

    def compute_hash(self) -> str:
        """vLLM keeps compiled programs under this hash; the tether does not change them."""
        return ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # The worker's own copies change nothing, nor does a second one in a process of vLLM's.
        if os.getpid() not in (self.pid, os.getpgrp()):
            # A terminal may stop a process that writes from another group than its own.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            os.setpgid(0, 0)
            self._hold()

    def _hold(self) -> None:
        """From now on this process ends with the worker. Only on Linux."""
        if hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(self.pid)
            threading.Thread(target=_outlive, args=(watched,), name="tether", daemon=True).start()


def _outlive(watched: int) -> None:
    select.select([watched], [], [])
    os._exit(0)
