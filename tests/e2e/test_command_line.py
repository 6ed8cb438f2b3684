"""The commands as they are typed, against processes that die."""

import os
import subprocess
import sys

from tests.e2e.conftest import SLOW
from tests.support.clients import Api
from tests.support.service import ROOT, Service

WORDS = " ".join(f"word{n}" for n in range(25)) + " followed"


def test_a_follower_reads_one_unbroken_text_though_its_api_process_dies(service: Service, api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": WORDS})
    argv = [sys.executable, "-m", "sightline", "jobs", "follow", job, "--url", service.url()]
    pipe = subprocess.PIPE
    # No buffer of ours: communicate() would leave out what lies in it.
    with subprocess.Popen(argv, cwd=ROOT, env=os.environ, stdout=pipe, stderr=pipe, bufsize=0) as follower:
        assert follower.stdout is not None
        begun = follower.stdout.read(20)
        service.kill("api")
        service.start("api")
        rest, err = follower.communicate(timeout=60)

    assert (begun + rest).decode() == WORDS + "\n", err.decode()
    assert follower.returncode == 0
