"""How the commands end: one sentence and an exit code."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; never renumbered."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    PORT = 3
    REDIS = 4
    DATA = 5
    MEMORY = 6
    CHILD = 7
    UNREACHABLE = 8
    JOB = 9


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done, or stopped by Ctrl-C",
    Exit.REFUSED: "the service answered with an error; for doctor: there is a problem",
    Exit.USAGE: "wrong arguments or settings, or a file that cannot be read or written",
    Exit.PORT: "the port is taken; for api: or its start failed",
    Exit.REDIS: "no usable Redis or Valkey server",
    Exit.DATA: "the data folder is in use, not writable, or was deleted",
    Exit.MEMORY: "not enough memory",
    Exit.CHILD: "a process crashed or a model failed before the service was ready",
    Exit.UNREACHABLE: "the service does not answer, or its answer broke off",
    Exit.JOB: "the followed job or every row of a map failed",
}


class CommandError(Exception):
    """Ends a command: the message is one sentence for the person who typed it, `code` what it exits with."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
