import json
import logging

import pytest

from shared.json_line import to_json
from shared.telemetry.logs import JsonLines
from shared.webhooks import Notice, body_of
from sightline.json_text import to_text
from sightline.terminal import show_json

ENDS = "".join(sign for sign in map(chr, range(0x3000)) if len(f"a{sign}b".splitlines()) == 2)
RECORD = logging.LogRecord("a.b", logging.INFO, "", 0, ENDS, None, None)
NOTICE = Notice("evt_1", "batch.completed", 0, "batch_1", data=json.dumps({"id": ENDS}, ensure_ascii=False))
READABLE = "日本語 ü"


@pytest.mark.parametrize(
    "line",
    [to_json(ENDS).decode(), to_text({"text": ENDS}), JsonLines().format(RECORD), body_of(NOTICE)],
    ids=["answer", "row", "log", "webhook"],
)
def test_what_ends_a_line_in_a_text_ends_none_of_ours(line: str) -> None:
    assert line.splitlines() == [line]
    assert repr(ENDS) in repr(json.loads(line))


def test_a_script_reads_one_line_from_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    show_json(ENDS + READABLE)

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == ENDS + READABLE
    assert READABLE in line
