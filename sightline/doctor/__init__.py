"""`sightline doctor`: checks of an installation, before it runs and while it runs.

What is checked, and in what order? `command.py` (`examine`).
May jobs rely on Redis, and does the service answer? `services.py` (`check_redis`, `check_service`).
Would a model load here? `models.py` (`refusals`).
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """What one check found: `fix` says what to do next; a problem keeps the service from working."""

    about: str
    state: State
    said: str
    fix: str = ""
