"""What programs really send, recorded once with their own long texts cut, is read as what was meant.

They are no part of the tests' tools: docs/clients/README.md says which were tried, and with which settings.
"""

import json
from typing import Any

from api.dialects.openai.responses import from_response
from shared.request import Text
from tests.support.golden import DATA

SENT: dict[str, Any] = json.loads((DATA / "sent/programs.json").read_text(encoding="utf-8"))


def test_a_session_of_codex_goes_on_though_it_says_which_it_is_and_asks_for_summaries() -> None:
    call = from_response(SENT["codex 0.169.0"])
    turns = call.request.messages[-5:]
    assert [(turn.role, *(part.text for part in turn.parts if isinstance(part, Text))) for turn in turns] == [
        ("user", "one"),
        ("assistant",),
        ("tool", "Wall time: 0.0000 seconds\nOutput:\nNoon.\n"),
        ("assistant", "Noon."),
        ("user", "two"),
    ]
    [made] = turns[1].calls
    assert (made.name, turns[2].answers) == ("exec_command", made.id)
    assert call.request.tools is not None
    assert [tool.name for tool in call.request.tools.functions] == ["exec_command", "view_image", "get_goal"]
    assert (call.stream, call.stored) == (True, False)
