"""Takes files, TCP and signals to others from a process.

By system calls that Python's library does not have: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from struct import pack

LIBC = ctypes.CDLL(None, use_errno=True)
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, BENEATH_PATH, SET_NO_NEW_PRIVILEGES = 1, 1, 38
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3


def confine(readable: Iterable[str]) -> bool:
    """Let this process open only what is in these folders, and only to read it.

    Call it before a second thread starts, which would stay free. Return False where the kernel lacks Landlock
    or a container's profile forbids it. Raise OSError if it fails.
    """
    version = LIBC.syscall(CREATE_RULESET, None, 0, ASK_VERSION) if sys.platform == "linux" else 0
    if version < 1:
        return False
    # A version refuses rights that only later ones know: to files, to TCP, to other processes.
    files = (1 << 12 + min(version, 3) + (version > 4)) - 1
    rights = pack("QQQ", files, 3 * (version > 3), 3 * (version > 5))
    ruleset = LIBC.syscall(CREATE_RULESET, rights, len(rights), 0)
    failed = LIBC.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for folder in filter(os.path.isdir, readable):
        opened = os.open(folder, os.O_PATH)
        rule = pack("=Qi", READ_FILE | READ_FOLDER, opened)
        failed |= LIBC.syscall(ADD_RULE, ruleset, BENEATH_PATH, rule, 0)
        os.close(opened)
    if failed or LIBC.syscall(RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock cannot confine this process")
    os.close(ruleset)
    return True
