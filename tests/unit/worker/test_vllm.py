"""What is said to vLLM and made of what it says; none of this needs it."""

import math
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GenerationConfig

from shared.errors import CallerError, ModelFailed
from shared.models import Model
from shared.request import Format, Parameters
from shared.result import Piece
from shared.settings import SettingsError
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled, DeviceBroken, Prompt, Row
from worker.engines.loading.generation_defaults import settle
from worker.engines.registry import create
from worker.engines.sampling.detokenizer import Transcript
from worker.engines.sampling.processors import LogitsError
from worker.engines.vllm.answer import VllmAnswer, likelihood
from worker.engines.vllm.core import ParentExit, configure_children
from worker.engines.vllm.engine import VllmEngine, VllmOptions, arguments
from worker.engines.vllm.sampling import NGRAM_SIZE, PUBLISHED, check, sampling, structured

TINY = Path(__file__).parents[3] / "models" / "tiny"
END = 9
LETTERS = "abcdefgh"
BANNED = float("-inf")


def mapped(
    defaults: dict[str, Any] | None = None, *, published: tuple[int, ...] = (), ngram: int = 0, **said: Any
) -> Any:
    config = GenerationConfig(**(defaults or {}))  # type: ignore[no-untyped-call]
    settle(config)
    given: dict[str, Any] = {"budget": 5, "suppressed": {4}, "published": published, "ngram_size": ngram}
    return sampling(Parameters(**said), **given, defaults=config)


def model(**fields: Any) -> Model:
    return Model(id="test/tiny", engine="vllm", source=str(TINY), **fields)


def test_what_nobody_says_is_what_transformers_would_do() -> None:
    assert mapped()["temperature"] == 0.0
    assert mapped({"do_sample": True}) == mapped(do_sample=True)
    drawn = mapped({"do_sample": True, "temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.2})
    told = ("temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty")
    assert [drawn[name] for name in told] == [0.7, 0.8, 50, 0.0, None, 1.2]


def test_what_a_caller_says_goes_before_what_the_model_says() -> None:
    own = {"do_sample": True, "temperature": 0.7, "top_k": 9, "top_p": 0.5, "repetition_penalty": 1.2}
    said: dict[str, Any] = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.1}
    said |= {"repetition_penalty": 1.0, "frequency_penalty": 0.3, "presence_penalty": -0.4, "seed": -1}
    made = mapped(own, **said, min_new_tokens=2, stop_token_ids=[7])
    assert {name: made[name] for name in said} == said | {"seed": 2**63 - 1}, "to vLLM -1 is no seed"
    assert (made["min_tokens"], made["max_tokens"], made["stop_token_ids"]) == (2, 5, [7])
    assert (made["ignore_eos"], mapped(own, ignore_eos=True)["ignore_eos"]) == (False, True)
    assert mapped(own, temperature=0)["temperature"] == 0.0
    assert mapped(own, do_sample=False)["temperature"] == 0.0


def test_a_caller_who_bans_a_token_never_reads_it_and_placeholders_nobody_brings_back() -> None:
    assert mapped()["logit_bias"] == {4: BANNED}
    biases = mapped(logit_bias=((1, -100), (2, 3.5), (4, 100)))["logit_bias"]
    assert biases == {1: BANNED, 2: 3.5, 4: BANNED}


def test_a_text_that_was_published_is_what_the_answer_begins_with() -> None:
    assert mapped()["extra_args"] is None
    assert mapped(published=(3, 5))["extra_args"] == {PUBLISHED: [3, 5], NGRAM_SIZE: 0}
    assert mapped(ngram=3)["extra_args"] == {PUBLISHED: [], NGRAM_SIZE: 3}


def test_a_temperature_beyond_vllms_is_refused_and_not_lowered() -> None:
    check(Parameters(temperature=2))
    with pytest.raises(CallerError, match="2 at most") as refused:
        check(Parameters(temperature=2.1))
    assert (refused.value.code, refused.value.param) == ("invalid_request", "temperature")
    assert mapped(temperature=1e-9)["temperature"] == 0.01


def test_a_typical_p_that_vllm_does_not_know_is_refused_where_tokens_are_drawn() -> None:
    check(Parameters(typical_p=0.9, do_sample=False, temperature=0.8))
    check(Parameters(typical_p=1.0))
    with pytest.raises(CallerError, match="leave it out") as refused:
        check(Parameters(typical_p=0.9))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "typical_p")


def test_a_format_is_told_in_words_that_vllm_reads() -> None:
    said = structured(Format(kind="json", content='{"type":"object","x-guidance":{"lenient":true}}'))
    assert '"lenient"' not in said["json"]
    assert '"type": "object"' in said["json"]
    looks = structured(Format(kind="json", content='{"type":"string","pattern":"^(?=a)[ab]$"}'))
    assert '"^(?:)[ab]$"' in looks["json"]
    assert structured(Format(kind="regex", content=r"\d+")) == {"grammar": "start: WORD\nWORD: /[0-9]+/"}
    assert structured(Format(kind="choice", content='["cat","dog"]')) == {
        "grammar": 'start: WORD\nWORD: "cat" | "dog"'
    }


def test_a_row_of_the_models_file_is_told_to_vllm() -> None:
    row = model(rows=8, dtype="bfloat16", options={"cache_mb": 64, "tensor_parallel_size": 2})
    said = arguments(row, VllmOptions(**row.options), folder=TINY, context_length=2048, pictures=32)
    expected: dict[str, Any] = {"model": str(TINY), "dtype": "bfloat16", "max_num_seqs": 8}
    expected |= {"max_model_len": 2048, "kv_cache_memory_bytes": 64 * 2**20}
    expected |= {"tensor_parallel_size": 2, "trust_remote_code": False}
    assert expected.items() <= said.items()
    assert "cache_mb" not in said


def test_without_vllm_an_operator_reads_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engines.vllm.core.find_spec", lambda _: None)
    with pytest.raises(ModelFailed, match=r"test/tiny.*docs/vllm\.md has the commands"):
        create(model()).load()


@pytest.mark.parametrize(
    "fields", [{"options": {"rows": 3}}, {"packed": True}, {"attention": "sdpa"}, {"device": "cpu"}]
)
def test_what_means_nothing_to_vllm_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(fields))):
        create(model(**fields))


def output(*ids: int, ended: str | None = None, cached: int = 0, logprob: float = -0.5) -> Any:
    """As vLLM tells of one step, or of several that nobody waited for."""
    beside = [{id_: SimpleNamespace(logprob=logprob, rank=1)} for id_ in ids]
    said = SimpleNamespace(token_ids=ids, logprobs=beside, finish_reason=ended)
    return SimpleNamespace(outputs=[said], num_cached_tokens=cached)


def begun(grammar: Any = None, **parameters: Any) -> tuple[VllmAnswer, list[Piece], threading.Event]:
    pieces, cancel = list[Piece](), threading.Event()
    row = Row(Prompt(1, 0, None), Parameters(**parameters), pieces.append, cancel, grammar=grammar)
    transcript = Transcript(
        row, lambda ids: "".join(LETTERS[id_] for id_ in ids), lambda id_: (LETTERS[id_], b""), ends=[END]
    )
    return VllmAnswer(row, transcript, {END}), pieces, cancel


class Strict:
    """A format that goes on with `allowed` tokens only, and may end behind `least` of them."""

    def __init__(self, allowed: set[int], least: int) -> None:
        self.allowed, self.least, self.taken = allowed, least, 0

    def deep_copy(self) -> "Strict":
        return Strict(self.allowed, self.least)

    def consume_token(self, token: int) -> bool:
        self.taken += 1
        return token in self.allowed

    def is_accepting(self) -> bool:
        return self.taken >= self.least


def test_an_answer_is_told_as_it_grows_and_says_how_it_ended() -> None:
    answer, pieces, _ = begun()
    assert not answer.take(output(0))
    assert not answer.take(output(1, 2))
    assert answer.take(output(END, ended="stop"))
    finish = answer.finish()
    assert (finish.text, finish.ids, finish.reason) == ("abc", (0, 1, 2, END), "stop")
    assert [piece.text for piece in pieces if piece.text] == ["a", "b", "c"]
    assert finish.score == pytest.approx(0.6065, abs=1e-4)
    longer, _, _ = begun()
    assert longer.take(output(0, 1, ended="length"))
    assert longer.finish().reason == "length"


def test_a_stop_text_ends_it_before_vllm_would() -> None:
    answer, pieces, _ = begun(stop=("bc",))
    assert not answer.take(output(0))
    assert answer.take(output(1, 2, 3))
    assert (answer.finish().text, answer.finish().reason) == ("a", "stop")
    assert "".join(piece.text for piece in pieces) == "a"


def test_a_long_prompt_is_no_stall_and_a_step_as_long_is(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(Prompt(1, 0, None), Parameters(), lambda _: None, threading.Event())
    engine = VllmEngine(model())
    monkeypatch.setattr(engine.progress, "idle_s", lambda: 100.0)
    with engine._working(row):
        assert engine.idle_s() == 10
        engine._prefilling.discard(id(row))
        assert engine.idle_s() == 100


def test_no_token_is_told_behind_a_cancel() -> None:
    answer, pieces, cancel = begun()
    answer.take(output(0))
    cancel.set()
    with pytest.raises(Cancelled):
        answer.take(output(1))
    assert [piece.text for piece in pieces] == ["a"]


def test_vllm_going_down_is_no_fault_of_the_request() -> None:
    with pytest.raises(DeviceBroken):
        begun()[0].take(output(ended="abort"))
    with pytest.raises(RuntimeError, match="error"):
        begun()[0].take(output(ended="error"))


def test_what_is_drawn_from_a_broken_models_nan_is_never_given_as_an_answer() -> None:
    answer, pieces, _ = begun()
    answer.take(output(0))
    with pytest.raises(LogitsError):
        answer.take(output(1, logprob=math.nan))
    assert [piece.text for piece in pieces] == ["a"]


@pytest.mark.parametrize(
    ("said", "parameters", "param"),
    [
        (output(0, 5), {}, "format"),
        # Of a mask that leaves no token.
        (output(5, logprob=math.nan), {}, "format"),
        (output(0, END, ended="stop"), {}, "format"),
        (output(ended="error"), {}, "format"),
        (output(0, 5), {"logit_bias": ((1, -100),)}, "logit_bias"),
        (output(0, 1, END, ended="stop"), {"min_new_tokens": 3}, "min_new_tokens"),
    ],
)
def test_an_answer_that_left_its_format_is_never_given_as_if_it_had_not(
    said: Any, parameters: dict[str, Any], param: str
) -> None:
    answer, _, _ = begun(SimpleNamespace(matcher=Strict({0, 1}, least=2)), **parameters)
    with pytest.raises(CallerError) as refused:
        answer.take(said)
    assert (refused.value.code, refused.value.param) == ("invalid_request", param)


def test_logprobs_are_told_by_rank_and_the_chosen_one_is_not_among_them_for_being_chosen() -> None:
    beside = {
        5: SimpleNamespace(logprob=float("-inf"), rank=900),
        7: SimpleNamespace(logprob=-1.00000049, rank=2),
        6: SimpleNamespace(logprob=-0.25, rank=1),
    }
    assert likelihood(beside, 5, 2) == (-9999.0, ((6, -0.25), (7, -1.0)))
    assert likelihood(beside, 6, 0) == (-0.25, ())


@pytest.mark.skipif(sys.platform != "linux", reason="watches processes as Linux does")
def test_a_process_on_a_tether_ends_with_the_one_it_is_tied_to_and_never_by_its_ctrl_c() -> None:
    pause = "import signal; signal.pause()"
    tie = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1])); print('tied', flush=True)"
    with subprocess.Popen([sys.executable, "-c", pause]) as worker:
        tether = pickle.dumps(ParentExit(worker.pid)).hex()
        with subprocess.Popen(
            [sys.executable, "-c", f"{tie}\n{pause}", tether], stdout=subprocess.PIPE, text=True
        ) as tied:
            assert tied.stdout is not None
            assert tied.stdout.readline() == "tied\n"
            alive, group = tied.poll() is None, os.getpgid(tied.pid)
            worker.kill()
            assert (alive, tied.wait(PATIENCE_S)) == (True, 0)
            # A terminal signals the worker's group.
            assert group == tied.pid


@pytest.mark.parametrize(("threads", "ranks", "bound"), [(3, 1, "2,4,5"), (2, 1, "nobind"), (3, 2, "nobind")])
def test_only_a_worker_that_has_all_cores_keeps_them_from_vllms_other_processes(
    monkeypatch: pytest.MonkeyPatch, threads: int, ranks: int, bound: str
) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 2, 4}, raising=False)
    configure_children(threads, ranks)
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == bound
    environment["VLLM_CPU_OMP_THREADS_BIND"] = "0-1"
    configure_children(threads, ranks)
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
