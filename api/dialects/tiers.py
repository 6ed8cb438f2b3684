"""OpenAI's `service_tier`, which is a job's priority here."""

from typing import Literal

from shared.job import Priority

Tier = Literal["auto", "default", "scale", "flex", "priority", "fast"]
CLASSES: dict[Tier, Priority] = {
    "auto": "normal",
    "default": "normal",
    "scale": "normal",
    "flex": "batch",
    "priority": "interactive",
    "fast": "interactive",
}
TIERS: dict[Priority, str] = {"interactive": "priority", "normal": "default", "batch": "flex"}
"""The tier that an answer names."""
