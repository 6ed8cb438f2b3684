import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.models import Model
from shared.request import Format
from shared.result import Piece
from shared.settings import PictureSettings, Settings, SettingsError
from tests.engines import several, suite, telling
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled
from worker.engines.registry import create


def harness(rows: int = 1, **options: object) -> suite.Harness:
    engine = create(Model(id="test/echo", engine="echo", rows=rows, options=options)).load()
    return suite.Harness(engine)


@pytest.mark.parametrize(
    "check", [*suite.CHECKS, *telling.CHECKS, *several.CHECKS], ids=lambda check: check.__name__
)
def test_echo_keeps_the_contract(check: Callable[[suite.Harness], None]) -> None:
    check(harness(step_s=0.0001))


def test_without_a_pace_the_answer_is_one_piece() -> None:
    finish, pieces = harness().ask("one two three")
    assert [(piece.text, piece.ids) for piece in pieces] == [(finish.text, finish.ids)]


def test_the_answer_names_every_picture_in_order() -> None:
    finish, _ = harness().ask("two  of\nthem", [suite.picture(), suite.picture().resize((9, 7))])
    assert finish.text == "two of them [64x48] [9x7]"


def test_a_row_waits_for_a_free_place_and_can_be_cancelled_there() -> None:
    under_test = harness(stall_on="hang")
    hanging, waiting = under_test.row("hang"), under_test.row("second")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(under_test.engine.generate, hanging)
        until(lambda: under_test.engine.idle_s() > 0)  # it has the place
        second = pool.submit(under_test.engine.generate, waiting)
        waiting.cancel.set()
        assert isinstance(second.exception(PATIENCE_S), Cancelled)
        assert not first.done()
        hanging.cancel.set()
        assert isinstance(first.exception(PATIENCE_S), Cancelled)


def test_as_many_rows_as_configured_run_together() -> None:
    together, under_test = threading.Barrier(3), harness(rows=3)

    def emit(piece: Piece) -> None:
        if piece.start == 0:
            together.wait(PATIENCE_S)

    rows = [under_test.row("one two", emit=emit) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert all(finish.text for finish in pool.map(under_test.engine.generate, rows))


def test_cancelling_wakes_a_row_in_the_middle_of_a_long_step() -> None:
    under_test = harness(step_s=3600)
    row = under_test.row("slow")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(under_test.engine.generate, row)
        row.cancel.set()
        assert isinstance(asked.exception(PATIENCE_S), Cancelled)


@pytest.mark.parametrize("options", [{"speed": 3}, {"step_s": "fast"}, {"step_s": -1}])
def test_an_option_in_error_is_named_before_anything_loads(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        create(Model(id="test/echo", engine="echo", options=options))


def test_an_answer_that_cannot_be_held_to_a_format_is_not_given_as_if_it_were() -> None:
    with suite.refused("unsupported_parameter", "format"):
        harness().ask("red or green?", format=Format(kind="choice", content='["red","green"]'))


def test_another_configuration_or_size_of_pictures_never_shares_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = harness().engine.fingerprint
    assert len(usual) == 32
    assert harness().engine.fingerprint == usual != harness(fail_on="x").engine.fingerprint
    small = Settings(pictures=PictureSettings(max_side=512))
    monkeypatch.setattr("worker.engines.echo.settings", lambda: small)
    assert harness().engine.fingerprint != usual


def test_echo_runs_where_torch_is_not_installed() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "from shared.models import Model; from worker.engines.registry import create\n"
        "create(Model(id='test/echo', engine='echo')).load()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=PATIENCE_S)


def test_thoughts_are_counted_and_told_apart() -> None:
    finish, _ = harness().ask("<think>a b</think> c d")
    assert finish.reasoning_tokens == 2
    other = create(Model(id="e", engine="echo", reasoning=("(", ")")))
    assert other.prepare(suite.question("<think>a</think>"), []).syntax is None
    assert other.prepare(suite.question("(a) b"), []).syntax == " ( )"
