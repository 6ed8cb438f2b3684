"""What programs really send, recorded once with their own long texts cut, is read as what was meant.

They are no part of the tests' tools: docs/clients/README.md says which were tried, and with which settings.
"""

import json
from typing import Any

import pytest

from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.dialects.unknown_fields import ignored_fields
from shared.request import Image, Text
from tests.support.golden import DATA
from tests.support.refusal import refusal

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


def test_a_benchmark_of_vlmevalkit_is_asked_though_it_says_into_how_many_tiles_a_picture_is_cut() -> None:
    with ignored_fields() as ignored:
        request = from_chat(SENT["VLMEvalKit"]).request
    assert [type(part) for part in request.messages[0].parts] == [Text, Image]
    assert request.parameters.max_new_tokens == 16384
    assert ignored == ["messages[0].content[1].image_url.max_dynamic_patch"]


ASKED = {"messages": [{"role": "user", "content": "Hi"}]}
OFF: dict[str, Any] = {"enable_thinking": False}
DISABLED: dict[str, Any] = {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    "sent",
    [
        DISABLED,
        OFF,
        OFF | DISABLED,
        OFF | {"chat_template_kwargs": OFF},
        OFF | {"chat_template_kwargs": {"enable_thinking": None}},
        DISABLED | {"chat_template_kwargs": OFF},
    ],
    ids=str,
)
def test_whichever_way_a_program_says_it_the_model_does_not_think(sent: dict[str, Any]) -> None:
    """As UI-TARS, Midscene and Dify do."""
    meant = from_chat({**ASKED, "chat_template_kwargs": OFF}).request.parameters
    assert from_chat({**ASKED, **sent}).request.parameters == meant
    if "chat_template_kwargs" not in sent:
        assert from_response({"input": "Hi", **sent}).request.parameters == meant


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (OFF | {"chat_template_kwargs": {"enable_thinking": True}}, "enable_thinking"),
        (DISABLED | {"enable_thinking": True}, "thinking"),
    ],
)
def test_who_says_both_about_thinking_hears_it(sent: dict[str, Any], param: str) -> None:
    assert refusal(from_chat, {**ASKED, **sent}) == ("invalid_request", param)


@pytest.mark.parametrize(
    "sent", [{"thinking": {"type": "auto"}}, {"enable_thinking": None}, {"vl_high_resolution_images": True}]
)
def test_nothing_is_said_of_thinking_where_the_model_shall_decide(sent: dict[str, Any]) -> None:
    assert from_chat({**ASKED, **sent}).request == from_chat(ASKED).request


def test_a_picture_whose_kind_copilot_names_is_read() -> None:
    def asked(**named: str) -> Any:
        picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"} | named}
        return from_chat({"messages": [{"role": "user", "content": [picture]}]}).request

    assert asked(media_type="image/png") == asked(mediaType="image/png") == asked()
