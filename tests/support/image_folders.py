"""What an image of `Dockerfile` holds, laid out in a folder: code and packages, not this checkout."""

import json
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.containers import Dockerfile
from tests.support.processes import Process
from tests.support.service import ROOT

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
PLACE = re.compile(r"^/opt/sightline|^/var/lib|^/tmp")


class Image:
    """The packages are those of the interpreter that runs the tests, more than the image has."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._code = folder / "code"
        self._copy()
        packages = folder / "packages"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", packages], check=True)
        (named,) = packages.glob("lib/python*/site-packages")
        # The packages' own `.pth` files are not read this way: one of those would lead to this checkout.
        (named / "packages.pth").write_text("\n".join(site.getsitepackages()))
        self._python = packages / "bin" / "python"

    def process(self, *argv: str, env: Mapping[str, str]) -> Process:
        """Its own command, or as in an engine these words in its place; not yet started."""
        _, *entry = json.loads(DOCKERFILE.last(self._name, "ENTRYPOINT"))
        command = argv or json.loads(DOCKERFILE.last(self._name, "CMD"))
        log = self._folder / "log"
        return Process((str(self._python), *entry, *command), self._env() | dict(env), log, self._code)

    def _copy(self) -> None:
        for word, rest in DOCKERFILE.lineage(self._name):
            if word == "COPY" and not rest.startswith("--from="):
                *sources, target = rest.split()
                for source in sources:
                    whole, to = ROOT / source, self._code / target
                    if whole.is_dir():
                        shutil.copytree(whole, to, ignore=shutil.ignore_patterns("__pycache__"))
                    else:
                        shutil.copy(whole, to)

    def _env(self) -> dict[str, str]:
        """Its own, in folders below this one."""
        places = {
            "/opt/sightline": str(self._code),
            "/var/lib": f"{self._folder}/var",
            "/tmp": str(self._folder),  # noqa: S108
        }
        env = DOCKERFILE.env(self._name) | {"PATH": f"{self._python.parent}:/usr/bin:/bin"}
        return {name: PLACE.sub(lambda found: places[found[0]], value) for name, value in env.items()}
