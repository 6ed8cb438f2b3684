"""The exit codes by which a worker says why only a new process can go on; a supervisor starts one."""

from enum import IntEnum


class Exit(IntEnum):
    """Never renumbered; docs/fleet.md says what to do about each."""

    STALLED = 70
    MODEL_FAILED = 71
    DEVICE_BROKEN = 72
    DEAF = 73
    NOT_OPENED = 74
    OUTDATED = 75
