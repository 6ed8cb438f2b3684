"""Whatever file a stranger calls a picture, it is seen or refused, and nobody else notices."""

import base64
from collections.abc import Callable

from tests.safety.answers import Answer, Stranger
from tests.safety.case import ANY, BAD, Case
from tests.safety.conftest import ECHO
from tests.safety.damage import damaged
from tests.safety.pictures import cases
from tests.safety.test_bodies import CHAT, all_wrong

CODES = {"invalid_audio", "invalid_image", "invalid_image_url", "invalid_video", "payload_too_large"}
CASES = (*cases(), *damaged())
QUESTION = "what is it?"


def as_job(stranger: Stranger, text: str) -> Answer:
    body = {"model": ECHO, "input": {"prompt": QUESTION, "image": text}}
    return stranger.ask("POST", "/v1/jobs", json=body, headers={"prefer": "wait=40"})


def as_chat(stranger: Stranger, text: str) -> Answer:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}}
    body = {
        "model": ECHO,
        "messages": [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}],
    }
    return stranger.ask("POST", CHAT, json=body)


def as_task(stranger: Stranger, text: str) -> Answer:
    return stranger.ask("POST", f"/models/{ECHO}", json={"inputs": {"image": text, "text": QUESTION}})


DOORS: tuple[Callable[[Stranger, str], Answer], ...] = (as_task, as_chat, as_job)


def met(stranger: Stranger, case: Case, number: int) -> Answer:
    """The doors take turns; what is text already goes where text is read as a picture."""
    made = case.made()
    if isinstance(made, str):
        return as_task(stranger, made)
    return DOORS[number % len(DOORS)](stranger, base64.b64encode(made).decode())


def wrong(stranger: Stranger, case: Case, number: int) -> str | None:
    """What became of it that should not have."""
    answer = met(stranger, case, number)
    failed = {code for code in CODES if f'"{code}"' in answer.text}
    if case.fate == ANY:
        right = answer.status == 200 or answer.code in CODES
    elif case.fate == BAD:
        right = answer.code in CODES or (
            answer.status == 200 and '"status":"failed"' in answer.text and bool(failed)
        )
    else:
        right = answer.status == 200 and f"[{case.fate[0]}x{case.fate[1]}]" in answer.text
    return None if right else f"{case.name}: {answer.status} {answer.text[:300]}"


def test_every_file_is_seen_or_refused(stranger: Stranger) -> None:
    assert len(CASES) >= 100
    assert all_wrong(lambda pair: wrong(stranger, pair[1], pair[0]), enumerate(CASES), 3) == []
