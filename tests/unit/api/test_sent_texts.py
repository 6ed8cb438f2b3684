"""What clients send that ask several prompts at once is refused in words that help; measuring is obeyed.

Recorded once from LangChain and lm-eval; those that measure are written down from their sources.
"""

import json
from typing import Any

import pytest

from api.dialects.openai.chat import Completion, from_chat
from api.dialects.openai.completions import from_completion
from shared.errors import CallerError
from shared.request import Parameters
from tests.support.golden import DATA

SENT: dict[str, dict[str, Any]] = json.loads((DATA / "sent/texts.json").read_text(encoding="utf-8"))
SEVERAL = [client for client in SENT if isinstance(SENT[client]["body"].get("prompt"), list)]
MEASURING = [client for client in SENT if "ignore_eos" in SENT[client]["body"]]


def asked(client: str) -> Completion:
    read = from_chat if "/chat/" in SENT[client]["path"] else from_completion
    return read(SENT[client]["body"])


def test_every_client_is_one_or_the_other() -> None:
    assert {*SEVERAL, *MEASURING} == {*SENT}


@pytest.mark.parametrize("client", SEVERAL)
def test_who_sends_prompts_at_once_hears_where_to_send_them(client: str) -> None:
    with pytest.raises(CallerError, match="calls of their own, or as a batch") as refusal:
        asked(client)
    assert (refusal.value.code, refusal.value.param) == ("invalid_request", "prompt")


@pytest.mark.parametrize("client", MEASURING)
def test_who_measures_gets_an_answer_of_the_length_that_is_measured(client: str) -> None:
    call = asked(client)
    wanted = Parameters(max_new_tokens=128, ignore_eos=True)
    assert call.request.parameters.model_copy(update={"repetition_penalty": None}) == wanted
    assert (call.stream, call.options.include_usage) == (True, True)
    assert call.options.running_usage == client.startswith("guidellm")
