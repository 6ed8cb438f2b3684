"""A home and a temporary folder that only the tests of this process use, and the commands that they start.

A service that the user runs elsewhere is recorded in the real home, and libraries keep caches there.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "TORCH_HOME", "MPLCONFIGDIR")
"""They would name a folder of the user's; without them it is in the home, as with the XDG variables."""


def take() -> Path:
    """Make the folder and name it in this process's environment."""
    # Pytest's own folders, which it keeps for a while, stay where they are.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    own = Path(tempfile.mkdtemp(prefix="own-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    temporary = own / "tmp"
    temporary.mkdir()
    for name in [name for name in os.environ if name.startswith("XDG_") or name in CACHES]:
        del os.environ[name]
    os.environ |= {"HOME": str(own), "TMPDIR": str(temporary)}
    tempfile.tempdir = str(temporary)
    return own
