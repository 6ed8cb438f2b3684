"""Example requests and answers of OpenAI's Responses, as the dialect really writes them; see `examples`."""

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from api.description.examples import MODEL, PICTURE, QUESTION, QUEUED, SUCCEEDED, TOLD
from api.dialects.openai_responses import from_response
from api.dialects.response_events import Story
from api.dialects.response_items import numbered, to_item_list
from api.dialects.response_object import Kept, response_id, to_deleted, to_response
from api.wire.sse import block
from shared.request import Image

_CONTENT = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": PICTURE}]
RESPONSE = {"model": MODEL, "input": [{"role": "user", "content": _CONTENT}]}
RESPONSE_ID = response_id(QUEUED.id)

_CALL = from_response(RESPONSE)
_STORED = _CALL.request.with_media((Image(digest="0" * 64),))
_QUEUED = Kept(QUEUED, _STORED, _CALL.outline.model_copy(update={"background": True}))
_KEPT = Kept(SUCCEEDED, _STORED, _CALL.outline)


def _told() -> list[dict[str, Any]]:
    story = Story(_KEPT)
    *before, _ = TOLD
    return [*story.opening(), *(t for event in before for t in story.of(event)), *story.ending(SUCCEEDED)]


RESPONSE_STREAM = b"".join(block(to_json(told), event=told["type"]) for told in _told())
RESPONSES: dict[str, Any] = {
    "response": to_response(_KEPT),
    "response-queued": to_response(_QUEUED),
    "response-cancelled": to_response(replace(_QUEUED, view=replace(QUEUED, status="cancelled"))),
    "response-deleted": to_deleted(RESPONSE_ID),
    "response-input": to_item_list(numbered(_KEPT), has_more=False, media={}),
}
"""Answers by name."""
