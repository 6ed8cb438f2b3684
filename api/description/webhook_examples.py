"""Examples of webhooks and events, as the dialect really writes them."""

from typing import Any

from api.description.examples import SUCCEEDED
from api.dialects.endpoints import from_endpoint, to_endpoint, to_event, to_try
from api.dialects.pages import to_page
from shared.endpoint import TEST, Tried
from shared.job import Delivery
from shared.notice import Notice

ENDPOINT = {"url": "https://shop.example/told", "events": ["job.*"], "description": "The shop"}
ENDPOINT_CHANGE = {"enabled": True}
ENDPOINT_ID = "wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312"
_MADE = from_endpoint(ENDPOINT, ENDPOINT_ID)
_SECRET = "whsec_" + "bDNrSnI0VWw1bmFkNXl2dWl1Z2U="
EVENT_ID = f"msg_{SUCCEEDED.id.removeprefix('job_')}_ended"
_ENDED = Notice(EVENT_ID, "job.succeeded", 1_760_000_000_750, SUCCEEDED.id, job=SUCCEEDED)
_TEST = Notice(
    "msg_test_5d0c4a7d9e8b4c21a3d6f7e8b9c0d1e2_sent",
    TEST,
    1_760_000_000_000,
    "test_5d0c4a7d9e8b4c21a3d6f7e8b9c0d1e2",
    data=f'{{"id":"{ENDPOINT_ID}","object":"webhook"}}',
)
_TRY = Tried(EVENT_ID, Delivery("job.succeeded", 1_760_000_000_800, 42, 204))

WEBHOOKS: dict[str, Any] = {
    "endpoint": to_endpoint(_MADE),
    "new-endpoint": to_endpoint(_MADE, _SECRET),
    "endpoints": to_page([to_endpoint(_MADE)]),
    "tries": {"object": "list", "data": [to_try(_TRY)], "has_more": False},
    "event": to_event(_ENDED),
    "test-event": to_event(_TEST),
    "events": to_page([to_event(_ENDED)]),
}
"""Answers by name."""
