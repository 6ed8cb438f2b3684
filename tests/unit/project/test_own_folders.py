"""No test sees what the user who runs it has in the home, or leaves anything there."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub import constants

from sightline.running_services import _records
from tests.conftest import OWN

TOLD = "import tempfile, pathlib; print(pathlib.Path.home(), tempfile.gettempdir(), sep='\\n')"


def test_every_folder_of_the_user_is_the_tests_own() -> None:
    command = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    folders = [str(Path.home()), tempfile.gettempdir(), constants.HF_HUB_CACHE, str(_records())]
    folders += command.stdout.splitlines()

    assert [folder for folder in folders if not Path(folder).is_relative_to(OWN)] == []
    assert [name for name in os.environ if name.startswith("XDG_")] == []
