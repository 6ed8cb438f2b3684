"""Writes one page of a list, in the form that all lists share."""

from typing import Any


def to_page(rows: list[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    """Rows with ids; `has_more` is always there, since the clients' iterators never end without it."""
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
        "has_more": has_more,
    }
