"""A step of the batch as a captured CUDA graph.

A GPU computes a step faster than Python queues its kernels, of which there are about 25 a layer. A graph is
queued by one call, but its shapes and its memory are fixed: it computes 1, 2, 4 … rows, over all columns that
the cache has memory for, and a mask hides those not in use.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from worker.engines.continuous.attention import ours
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.row_window import RowWindow
from worker.engines.loading.devices import device_of
from worker.engines.loading.torch_errors import out_of_memory

log = logging.getLogger("worker.engines.continuous")
REPEATS = 2
"""Steps over the same memory, one behind the other, before one is captured, which takes as long as three."""
PAUSE = 1000
"""Steps before the next is captured where there was no memory for one."""
MAX_GRAPHS = 16
"""Each has logits of its own, and shares all other memory with the others."""
WIDER, FEW_COLUMNS = 4, 1024
"""Over more columns than so many times an attention window's, and than a few, a graph loses what it gains."""

GraphKey = tuple[Any, ...]


def capturable(network: Any) -> bool:
    """Whether it lies on one GPU, and computes its attention as `attention.attend` does."""
    places = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
    return ours(network) and places == {device_of(network)} and device_of(network).type == "cuda"


class FixedLayer(CacheLayerMixin):
    """The memory of an AlignedLayer with all its columns; the model's masks hide those that are not in use.

    Where the step stands is a tensor, as in transformers' StaticLayer, so that a graph does not keep it.
    """

    def __init__(self, layer: AlignedLayer, rows: int, column: torch.Tensor) -> None:
        """`column` [1] is the step's."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: torch.Tensor = layer.keys[:rows]
        self.values: torch.Tensor = layer.values[:rows]
        self.is_initialized = True
        self.is_sliding = layer.is_sliding
        self._column = column

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do."""

    def get_max_length(self) -> int:
        return -1

    def get_seq_length(self) -> Any:
        return self._column[0]

    def get_mask_sizes(self, *_: object) -> tuple[int, int]:
        return self.keys.shape[2], 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys.index_copy_(2, self._column, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self._column, value_states.to(self.values.dtype))
        return self.keys, self.values


class FixedStep:
    """A step of `rows` rows of a cache, of which some may be idle; its inputs lie in memory of their own."""

    def __init__(
        self, network: Any, cache: BatchCache, rows: int, positions: torch.Tensor, extras: Mapping[str, Any]
    ) -> None:
        self.rows = rows
        self._network = network
        device = positions.device
        self._numbers = torch.zeros(1 + 2 * rows, dtype=torch.long, device=device)
        self._column, self._starts, self._ids = torch.split(self._numbers, [1, rows, rows])
        self._positions = positions.new_zeros(*positions.shape[:-2], rows, 1)
        self._extras = {
            name: value.new_zeros(rows, *value.shape[1:]) if torch.is_tensor(value) else value
            for name, value in extras.items()
        }
        layers: list[Any] = [
            FixedLayer(layer, rows, self._column) if isinstance(layer, AlignedLayer) else layer
            for layer in cache.layers
        ]
        self._columns = torch.arange(cache.aligned[0].size[1], device=device)
        self._cache: Cache | None = Cache(layers=layers)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor

    def write(
        self, tokens: list[int], positions: torch.Tensor, extras: Mapping[str, Any], window: RowWindow
    ) -> None:
        rows, end = len(tokens), window.end
        idle = self.rows - rows
        starts = [end - length for length in window.lengths] + [end] * idle
        self._numbers.copy_(torch.tensor([end, *starts, *tokens, *[0] * idle]))
        self._positions[..., :rows, :] = positions
        for name, value in extras.items():
            if torch.is_tensor(value):
                self._extras[name][:rows] = value

    def compute(self) -> torch.Tensor:
        """Logits [rows, vocabulary] of what was written, call by call."""
        visible = (self._columns >= self._starts[:, None]) & (self._columns <= self._column)
        outputs = self._network(
            input_ids=self._ids[:, None],
            position_ids=self._positions,
            attention_mask=visible.long(),
            past_key_values=self._cache,
            return_dict=True,
            **self._extras,
        )
        logits: torch.Tensor = outputs.logits[:, -1]
        return logits

    def capture(self, stream: torch.cuda.Stream, pool: Any) -> None:
        """With inputs that are written. Raises RuntimeError: the code cannot be captured, or memory lacks."""
        graph, queue = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
        stream.wait_stream(queue)
        with torch.cuda.stream(stream):
            try:
                # Makes what a graph may not make. It writes the step's column, as the graph will once more.
                self.compute()
            finally:
                # Nothing else runs there: a capture only records.
                queue.wait_stream(stream)
            # Other threads may use the device meanwhile.
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                self._logits = self.compute()
            except RuntimeError:
                with suppress(RuntimeError):
                    graph.capture_end()
                with suppress(RuntimeError):
                    # torch 2.11 goes on as if it captured, and then gives no memory back.
                    torch._C._cuda_endAllocateToPool(stream.device_index, pool)
                    torch._C._cuda_releasePool(stream.device_index, pool)
                raise
            graph.capture_end()
        self._graph = graph
        # A graph knows addresses only, and must not keep the cache's memory when the cache gives it back.
        self._cache = None

    def replay(self) -> torch.Tensor:
        """Logits [rows, vocabulary], valid until the next step."""
        if self._graph is None:
            raise RuntimeError("the step was not captured")
        self._graph.replay()
        return self._logits


class CapturedSteps:
    """Graphs by the memory that they compute over; what has none yet is for its caller to compute."""

    def __init__(self, network: Any, repeats: int = REPEATS) -> None:
        self.replays = 0
        """Steps computed by a graph that an earlier step had captured."""
        self.failed = False
        """Whether the model's code cannot be captured, or answers otherwise then."""
        self._network = network
        self._least = repeats
        self._last: GraphKey | None = None
        self._repeats = 0
        self._steps: dict[GraphKey, FixedStep] = {}

    def logits(
        self, tokens: list[int], positions: torch.Tensor, extras: Mapping[str, Any], cache: BatchCache
    ) -> torch.Tensor | None:
        """Of each row, [rows, vocabulary], valid until the next step; None where there is no graph."""
        if self.failed or not _gains(cache):
            return None
        have, columns = cache.aligned[0].size
        rows = min(have, 1 << (len(tokens) - 1).bit_length())
        constants = ((name, None if torch.is_tensor(value) else value) for name, value in extras.items())
        key = (rows, columns, positions.shape[:-2], *constants, *cache.addresses)
        self._repeats = self._repeats + 1 if key == self._last else min(0, self._repeats)
        self._last = key
        step = self._steps.get(key)
        if step is None and self._repeats < self._least:
            return None
        self.replays += step is not None
        step = step or FixedStep(self._network, cache, rows, positions, extras)
        step.write(tokens, positions, extras, cache.window)
        if key not in self._steps and not self._capture(key, step):
            return None
        return step.replay()[: len(tokens)]

    def covers(self, cache: BatchCache) -> bool:
        """Whether there is a graph over the cache's memory."""
        addresses = cache.addresses
        return any(key[-len(addresses) :] == addresses for key in self._steps)

    def clear(self) -> None:
        """Give back all graphs and their memory."""
        self._steps.clear()
        vars(self).pop("_pool", None)

    def give_up(self, why: Exception) -> None:
        self.clear()
        self.failed = True
        log.warning("steps of this model are computed call by call: %s", why)

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """Where all graphs are captured. Libraries keep a workspace for each stream for good."""
        return torch.cuda.Stream(device_of(self._network))  # type: ignore[no-untyped-call]

    @cached_property
    def _pool(self) -> Any:
        """Whence all graphs have their memory."""
        return torch.cuda.graph_pool_handle()

    def _capture(self, key: GraphKey, step: FixedStep) -> bool:
        try:
            step.capture(self._stream, self._pool)
        except RuntimeError as error:
            if not out_of_memory(error):
                self.give_up(error)
                return False
            log.warning("no memory to capture steps; the next %d are computed call by call", PAUSE)
            self.clear()
            self._repeats = -PAUSE
            return False
        if len(self._steps) >= MAX_GRAPHS:
            del self._steps[next(iter(self._steps))]
        self._steps[key] = step
        return True


def _gains(cache: BatchCache) -> bool:
    """Rows that join or leave replace a recurrent state, and a short window is read by itself otherwise."""
    windows = [layer.get_max_length() for layer in cache.aligned if layer.is_sliding]
    most = max(FEW_COLUMNS, WIDER * min(windows, default=2**40))
    return not cache.recurrent and cache.aligned[0].size[1] <= most
