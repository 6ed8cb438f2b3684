"""Exit codes with which a worker says why it needs a new process, which a supervisor starts."""

from enum import IntEnum


class Exit(IntEnum):
    """Never renumbered; docs/fleet.md says what to do about each."""

    STALLED = 70
    MODEL_FAILED = 71
    DEVICE_BROKEN = 72
    DEAF = 73
    NOT_OPENED = 74
    OUTDATED = 75
