"""Whatever file a stranger calls a sound, it is heard or refused, and nobody else notices."""

import base64

from tests.safety.answers import Stranger
from tests.safety.case import ANY, Case
from tests.safety.conftest import ECHO
from tests.safety.sounds import sounds
from tests.safety.test_bodies import CHAT, all_wrong

CODES = {"invalid_audio", "invalid_video", "payload_too_large"}


def test_every_sound_is_heard_or_refused(stranger: Stranger) -> None:
    def look(case: Case) -> str | None:
        made = case.made()
        assert isinstance(made, bytes)
        part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(made).decode()}}
        content = [part, {"type": "text", "text": "what is said?"}]
        body = {"model": ECHO, "messages": [{"role": "user", "content": content}]}
        answer = stranger.ask("POST", CHAT, json=body)
        right = answer.code in CODES or (case.fate == ANY and answer.status == 200)
        return None if right else f"{case.name}: {answer.status} {answer.text[:200]}"

    assert all_wrong(look, sounds()) == []
