"""Resolves references: items of earlier answers that a response's input names by their ids.

Vercel's AI SDK sends them by default: an answer's items come back as their ids alone.
"""

from collections.abc import Mapping
from typing import Any, Literal

from api.dialects.refusals import invalid
from api.dialects.strict_json import Wire, read

MOST = 256
"""References of one call: each may name another response, which must be looked up."""


class Reference(Wire):
    type: Literal["item_reference"]
    id: str


def references(body: Any) -> dict[int, str]:
    """The ids that the input names, by their places in it. Raises CallerError naming the item."""
    items = body.get("input") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return {}
    found = {
        place: read(Reference, item, f"input[{place}]").id
        for place, item in enumerate(items)
        if isinstance(item, dict) and item.get("type") == "item_reference"
    }
    if len(found) > MOST:
        raise invalid("input", f"names more than {MOST} items; send them, or `previous_response_id`")
    return found


def response_of(item: str) -> str:
    """The response whose answer would hold an item of this id."""
    return f"resp_{item.partition('_')[2].partition('_')[0]}"


def written_out(body: dict[str, Any], items: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """The body with its references replaced by these items."""
    return body | {"input": [items.get(place, item) for place, item in enumerate(body["input"])]}
