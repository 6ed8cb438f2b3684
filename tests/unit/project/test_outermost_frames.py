"""A handler that catches everything hides mistakes, unless nothing is above it that would tell of them."""

import ast
import re
from collections.abc import Iterator

from tests.support.snippets import ROOT

BROAD = {"Exception", "BaseException"}
MAY_BE = re.compile(r"\bexcept\s*:|\b(?:Base)?Exception\b")
FRAMES = {
    "api/batches/intake.py:_admit": "a line of a batch that becomes a job",
    "api/batches/output.py:_row": "a line of a batch that is written down",
    "api/batches/runner.py:_claim": "a round of the task that takes up batches",
    "api/batches/runner.py:_renew": "a round of the task that renews leases",
    "api/batches/runner.py:_work": "the task of a batch",
    "api/jobs/disconnects.py:_insist": "a try of the task that cancels a job",
    "api/metrics.py:_tell": "a round of the task that tells what was refused",
    "api/models_admin.py:_poll": "a round of the task that reads the models",
    "api/server/middleware.py:_answer": "a request",
    "api/server/sse.py:_send_all": "the task of a stream that has begun",
    "shared/media/decoder_protocol.py:_answer": "a file in the decoder's process",
    "shared/store/exchange.py:_connect": "the task that connects",
    "shared/store/pipelined_store.py:_read_all": "an exchange for which threads wait",
    "shared/store/pipelined_store.py:_send": "an exchange for which threads wait",
    "shared/store/wakeups.py:_read": "a round of the task that hears",
    "sightline/serving/node.py:run": "a look of the node",
    "worker/attempt.py:_outcome": "an attempt",
    "worker/celery_app.py:start": "the start of a process",
    "worker/claim_loop.py:_loop": "a round of the thread that looks for work",
    "worker/fetching/intake.py:attempt": "an attempt of the courier, whose end could not be written",
    "worker/engines/continuous/loop.py:_blames": "the work for one answer",
    "worker/engines/continuous/loop.py:_draw": "the drawing of all rows",
    "worker/engines/continuous/loop.py:_enter": "a row that joins the others",
    "worker/engines/continuous/loop.py:_pass": "a pass",
    "worker/engines/continuous/loop.py:_remove": "the leaving of one answer",
    "worker/engines/continuous/loop.py:_run": "the engine's thread",
    "worker/engines/continuous/loop.py:_step": "a step",
    "worker/engines/loading/dry_load.py:refusal": "a load",
    "worker/engines/continuous/sampling.py:sample_tokens": "a row's own processors",
    "worker/engines/prompt/media_input.py:try_out": "a trial of a processor",
    "worker/fetching/intake.py:_take_in": "an attempt of the courier",
    "worker/heartbeat.py:_run": "a step of the thread that beats",
    "worker/lease.py:retry_until_stored": "an attempt's end",
    "worker/maintenance/leader.py:_guarded": "a pass of the thread that maintains",
    "worker/model_worker.py:_exit_on_failure": "a load",
    "worker/publisher.py:_append": "a round of the thread that publishes",
    "worker/token_calibration.py:measure_tokens": "a measurement",
    "worker/webhooks/deliverer.py:_post": "a call of the courier",
    "worker/webhooks/deliverer.py:attempt": "a call of the courier, whose outcome could not be written",
}


def broad(node: ast.AST, function: str = "") -> Iterator[str]:
    """The function of each handler of everything that does not end with `raise`."""
    function = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
    if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
        caught = {getattr(part, "id", "") for part in ast.walk(node.type)} if node.type else BROAD
        yield from [function] * bool(caught & BROAD)
    for child in ast.iter_child_nodes(node):
        yield from broad(child, function)


def test_only_outermost_frames_catch_everything() -> None:
    """Name the classes that can come, end with `raise`, or give an outermost frame its row in FRAMES."""
    paths = [path for top in ("api", "shared", "sightline", "worker") for path in (ROOT / top).rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    found = [
        f"{name}:{function}"
        for name, text in texts.items()
        if MAY_BE.search(text)
        for function in broad(ast.parse(text))
    ]
    assert sorted(found) == sorted(FRAMES), test_only_outermost_frames_catch_everything.__doc__
