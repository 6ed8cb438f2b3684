"""How Python processes of ours are started: with our packages, never with those of the working folder."""

import os
import sys
from collections.abc import Mapping

from shared import ROOT

PYTHON = (sys.executable, "-P")
PATH = "PYTHONPATH"


def with_our_packages(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a process of ours finds `api`, `shared` and `worker` first."""
    return {**environ, PATH: os.pathsep.join(filter(None, (str(ROOT), environ.get(PATH))))}
