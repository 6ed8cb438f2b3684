"""The contract, and what is vLLM's own, where it is installed."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import AutoModelForImageTextToText

from shared.models import Model
from tests.engines import several, suite, telling
from tests.engines.conftest import TINY
from tests.support.patience import PATIENCE_S
from worker.engines.base import DeviceBroken, Finish, Row
from worker.engines.registry import create
from worker.engines.vllm.sampling import NGRAM_SIZE, PUBLISHED

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    # vLLM's own, and those of what it imports.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]
LONG = "What do we see in this image? " * 30
"""More than a block of vLLM's cache."""
UNDOCUMENTED = (
    "vllm.config:VllmConfig.use_v2_model_runner",
    "vllm.exceptions:VLLMClientError",
    "vllm.platforms:current_platform.is_cpu",
    "vllm.renderers:BaseRenderer.render_cmpl_async",
    "vllm.usage.usage_lib:UsageContext.OPENAI_API_SERVER",
    "vllm.v1.engine.async_llm:AsyncLLM.errored",
    "vllm.v1.engine.async_llm:AsyncLLM.from_vllm_config",
    "vllm.v1.engine.async_llm:AsyncLLM.shutdown",
    "vllm.v1.engine.exceptions:EngineDeadError",
    "vllm.v1.worker.gpu.sample.logits_processor:LogitsContext",
    "vllm.v1.worker.gpu.sample.logits_processor:LogitsProcessor.add_request",
)
"""What we use that its pages do not promise, as vLLM 0.32 and 0.33 have it."""
REPEATING = {"max_new_tokens": 40, "min_new_tokens": 40, "no_repeat_ngram_size": 2}


@pytest.mark.parametrize(
    "check", [*suite.CHECKS, *telling.CHECKS, *several.CHECKS], ids=lambda check: check.__name__
)
def test_vllm_keeps_the_contract(check: Callable[[suite.Harness], None], vllm: suite.Harness) -> None:
    check(vllm)


@pytest.mark.parametrize("name", UNDOCUMENTED)
def test_a_name_that_vllm_does_not_promise_is_where_it_was(name: str) -> None:
    assert resolve_name(name) is not None


def test_a_worker_says_that_its_prompts_are_those_of_transformers(vllm: suite.Harness) -> None:
    assert vllm.engine.reason.endswith("prompts are those of transformers")


def test_several_answers_are_computed_at_once_before_the_first_caller_comes(
    vllm: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one row alone a worker would not learn that several end vLLM."""
    own: Any = vllm.engine
    generate_all, asked = own.generate_all, []

    def counted(rows: Sequence[Row]) -> list[Finish]:
        asked.append(len(rows))
        answers: list[Finish] = generate_all(rows)
        return answers

    monkeypatch.setattr(own, "generate_all", counted)
    own._tried()
    assert asked == [3, 3]


def test_a_step_takes_as_many_tokens_as_with_vllm_serve(
    vllm_row: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large GPU that is four times what vLLM takes if it is not told that it serves."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    from worker.engines.vllm.core import _config

    large = {UsageContext.LLM_CLASS: 16384, UsageContext.OPENAI_API_SERVER: 8192}
    monkeypatch.setattr(AsyncEngineArgs, "get_batch_defaults", lambda *_: (large, {}))
    config = _config({"model": vllm_row.source, "dtype": "float32", "max_num_seqs": 64})
    assert config.scheduler_config.max_num_batched_tokens == 8192


@pytest.mark.parametrize("text", ["What do we see in this image?", "What color is the shape?", "Hello"])
@pytest.mark.parametrize("asked", [{"max_new_tokens": 48}, REPEATING], ids=["greedy", "no repeats"])
def test_answers_are_those_of_transformers(vllm: suite.Harness, text: str, asked: dict[str, Any]) -> None:
    own: Any = vllm.engine
    network: Any = AutoModelForImageTextToText.from_pretrained(TINY, dtype="float32")
    prompt = own._language.renderer.prompt(suite.question(text, 1), [suite.picture()])
    ids = network.generate(**prompt.inputs, **asked)[0, prompt.tokens :]
    assert vllm.ask(text, [suite.picture()], **asked)[0].ids == tuple(ids.tolist())


def _v2(prompts: Sequence[int], tokens: torch.Tensor, *asked: tuple[Sequence[int], int]) -> Any:
    """Our processor in model runner V2, which needs Triton, by its slots: lengths of prompts, and tokens.

    The last slots' requests have these published tokens and this size of what may not repeat.
    """
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcRequestState

    from worker.engines.vllm.logits_processors import AnswerProcessorV2

    unread = dict.fromkeys(("device", "max_num_reqs", "vocab_size", "prefill_len", "total_len"))
    buffers: dict[str, Any] = {
        "all_token_ids": SimpleNamespace(gpu=tokens),
        "prompt_len": SimpleNamespace(np=np.array(prompts)),
    }
    processor = AnswerProcessorV2(None, LogitsProcRequestState(**buffers, **unread))
    for slot, (published, size) in enumerate(asked, len(prompts) - len(asked)):
        extra = {PUBLISHED: list(published), NGRAM_SIZE: size} if published or size else None
        assert processor.add_request(slot, SimpleNamespace(extra_args=extra)) == bool(extra)
    return processor


def _step(processor: Any, logits: torch.Tensor, slots: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
    """The CUDA graph is one for a row more."""
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext

    unread = dict.fromkeys(("expanded_idx_mapping", "idx_mapping", "expanded_local_pos", "input_ids", "pos"))
    context: dict[str, Any] = {
        "idx_mapping_np": np.array(slots),
        "seq_lens_upper_bound_np": np.array([*lengths, 0]),
    }
    changed: torch.Tensor = processor.apply(logits, LogitsContext(**context, **unread))
    return changed


def test_where_vllm_runs_models_its_newer_way_repeats_are_forbidden_too() -> None:
    tokens = torch.tensor([[0] * 6, [3, 4, 5, 3, 4, 0], [3, 4, 5, 3, 4, 0], [3, 3, 3, 3, 3, 0]])
    ban = _v2([0, 3, 5, 5], tokens, ((), 0), ((), 3), ((), 1))
    # The last row's prompt is cut.
    logits = _step(ban, torch.zeros(3, 9), [2, 1, 3], [5, 5, 4])
    assert [(row == -torch.inf).nonzero().flatten().tolist() for row in logits] == [[5], [], []]


def test_a_prompt_is_remembered_for_its_caller_and_nobody_else(vllm: suite.Harness) -> None:
    def cached(scope: str | None, colour: str = "red") -> int:
        return vllm.ask(LONG, [suite.picture(colour)], scope=scope)[0].cached_tokens

    assert cached("ann") == 0
    assert cached("ann") >= 128
    assert cached("ben") == 0
    assert cached("ann", "blue") == 0
    assert cached(None) == cached(None) == 0


def test_where_vllm_runs_models_its_newer_way_a_text_goes_on_too() -> None:
    """The last row has its prompt cut."""
    replay = _v2([0, 10, 20, 30], torch.zeros(4, 40), ((), 0), ((5, 6), 0), ((7,), 0))
    lengths = {2: (20, 21, 22), 1: (10, 11, 12), 3: (16, 30, 31)}
    drawn = []
    for step in range(3):
        slots, logits = [2, 1, 3], torch.zeros(3, 9)
        logits[:, 1] = 1
        changed = _step(replay, logits, slots, [lengths[slot][step] for slot in slots])
        drawn.append(changed.argmax(dim=1).tolist())
    assert drawn == [[5, 1, 1], [6, 1, 7], [1, 1, 1]]


def test_a_long_prompt_with_a_seed_is_computed_beside_others(vllm: suite.Harness) -> None:
    """Longer than what a step takes, together: vLLM would cut one of them, and a CPU's dice cannot be cut."""
    asked: dict[str, Any] = {"temperature": 1.0, "seed": 1, "max_new_tokens": 4}
    rows = [vllm.row(f"{number} " + "word " * 900, scope=str(number), **asked) for number in range(4)]
    with ThreadPoolExecutor(len(rows)) as pool:
        assert all(finish.ids for finish in pool.map(vllm.engine.generate, rows, timeout=PATIENCE_S))
    assert not vllm.engine.broken


def test_penalties_and_dice_reach_the_model(vllm: suite.Harness) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 60, "min_new_tokens": 60, "temperature": 2.0, "seed": 1}
    varied, _ = vllm.ask("Hello", frequency_penalty=2.0, presence_penalty=2.0, **asked)
    monotonous, _ = vllm.ask("Hello", frequency_penalty=-2.0, presence_penalty=-2.0, **asked)
    assert len(set(varied.ids)) > len(set(monotonous.ids))
    greedy, _ = vllm.ask("Hello", max_new_tokens=60, min_new_tokens=60)
    assert vllm.ask("Hello", min_p=1.0, **asked)[0].ids == greedy.ids
    assert vllm.ask("Hello", top_k=1, **asked)[0].ids == greedy.ids
    assert vllm.ask("Hello", top_p=1e-6, **asked)[0].ids == greedy.ids
    assert vllm.ask("Hello", top_p=0.0, **asked)[0].ids == greedy.ids


def test_a_picture_of_any_kind_of_size_is_answered(vllm: suite.Harness) -> None:
    for size in ((1, 1), (3, 900), (640, 480)):
        finish, _ = vllm.ask(vllm.question, [suite.picture().resize(size)] * 2)
        assert finish.reason == "stop"


@pytest.mark.parametrize("name", ["EngineCore", "Worker"])
def test_a_death_of_vllms_processes_ends_the_worker_and_not_the_request(vllm_row: Model, name: str) -> None:
    mine = psutil.Process()
    others = set(mine.children(recursive=True))
    engine: Any = create(vllm_row).load()
    harness = suite.Harness(engine)
    [victim] = [child for child in {*mine.children(recursive=True)} - others if name in child.name()]
    row = harness.row(harness.question, emit=lambda _: victim.kill(), min_new_tokens=400)
    with pytest.raises(DeviceBroken):
        engine.generate(row)
    assert engine.broken
    engine.close()


def test_a_worker_that_is_killed_leaves_no_process_of_vllms_behind(vllm_row: Model) -> None:
    code = (
        "import signal, sys\n"
        "from shared.models import Model\n"
        "from worker.engines.registry import create\n"
        "create(Model.model_validate_json(sys.argv[1])).load()\n"
        "print('loaded', flush=True)\n"
        "signal.pause()"
    )
    argv = (sys.executable, "-c", code, vllm_row.model_dump_json(exclude_unset=True))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert any(line == "loaded\n" for line in worker.stdout)
        children = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
    assert children
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert left == []
