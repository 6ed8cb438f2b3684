"""The images hold what their commands need and no more: read without Docker, which no test needs."""

import base64
import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from http.server import HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.containers import Dockerfile
from tests.support.healthy_server import Healthy
from tests.support.service import ROOT
from tests.support.typed import parsed

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
IMAGES = ("api", "courier", "worker", "worker-vllm")


def dependencies(extra: str = "") -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"][extra] if extra else project["dependencies"])


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_a_command_of_ours_that_gets_its_signals(image: str) -> None:
    argv = DOCKERFILE.argv(image)
    assert argv[:3] == ["python", "-m", "sightline"]
    parsed(argv[3:])


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_a_health_check_and_a_user(image: str) -> None:
    options, _, command = DOCKERFILE.last(image, "HEALTHCHECK").partition(" CMD ")
    assert "--start-period=" in options
    words = json.loads(command)
    if image == "api":
        compile(words[2], "health check", "exec")
        assert "://127.0.0.1:8000/health" in words[2]
    else:
        assert f"find {DOCKERFILE.env(image)['SIGHTLINE_HEARTBEAT_FILE']} -mmin -1 " in words[2]
    assert DOCKERFILE.last(image, "USER") == "10001:10001"


def test_an_api_behind_a_company_s_proxy_is_not_called_sick() -> None:
    words = json.loads(DOCKERFILE.last("api", "HEALTHCHECK").partition(" CMD ")[2])
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever).start()
        asked = [word.replace(":8000", f":{server.server_port}") for word in words[1:]]
        env = {"http_proxy": "http://127.0.0.1:1"}
        done = subprocess.run([sys.executable, *asked], env=env, capture_output=True, text=True)
        server.shutdown()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("age_s", [0, 3600, None])
def test_the_health_check_of_a_worker_tells_a_living_one_from_a_frozen_one(
    age_s: int | None, tmp_path: Path
) -> None:
    beat = tmp_path / "heartbeat"
    if age_s is not None:
        subprocess.run(["touch", "-d", f"{age_s} seconds ago", beat], check=True)  # noqa: S607
    words = json.loads(DOCKERFILE.last("worker", "HEALTHCHECK").partition(" CMD ")[2])
    asked = [word.replace("/tmp/heartbeat", str(beat)) for word in words]  # noqa: S108
    assert (subprocess.run(asked, capture_output=True).returncode == 0) == (age_s == 0)


def copied() -> list[tuple[str, str]]:
    """What the stages copy from the build context, with the line that lets it in."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line[1:] for line in allowed if line.startswith("!")]
    rows = []
    for stage in DOCKERFILE.stages.values():
        for word, rest in stage.instructions:
            if word == "COPY" and not rest.startswith("--from="):
                rows += [(source, p) for source in rest.split()[:-1] for p in patterns if source == p]
                missing = [source for source in rest.split()[:-1] if source not in patterns]
                assert not missing, f".dockerignore keeps {missing} out"
    return rows


def test_the_builder_gets_all_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {pattern for _, pattern in copied()} == {line[1:] for line in rules if line.startswith("!")}
    assert all((ROOT / source).exists() for source, _ in copied())
    hidden = [line for line in rules[1:] if not line.startswith("!")]
    assert not any(fnmatch(source, line) for source, _ in copied() for line in hidden)


def installed(stage: str) -> list[str]:
    """The requirements that a stage hands to pip, as its own command lists them."""
    runs = [rest for word, rest in DOCKERFILE.stages[stage].instructions if word == "RUN"]
    (listing,) = [run for run in runs if "tomllib" in run]
    printing, _, installing = listing.partition(" && ")
    words = shlex.split(printing)
    assert words[:2] == ["python", "-c"]
    assert installing.split() == ["pip", "install", "-c", "constraints.txt", "-r", words[-1]]
    done = subprocess.run([sys.executable, *words[1:3]], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_stage_installs_what_the_project_names_and_no_torch_where_none_is_needed() -> None:
    service, worker = installed("service-packages"), installed("worker-packages")
    assert service == dependencies() + dependencies("traces")
    assert worker == dependencies("worker") + dependencies("processors")
    assert not any(name.startswith(("torch", "transformers")) for name in service)


def test_a_row_of_the_catalogue_lacks_no_package_in_the_worker_s_image() -> None:
    catalogue = (ROOT / "examples/models/catalogue.toml").read_text(encoding="utf-8")
    needed = re.findall(r"Needs ([\w, ]+)\.", catalogue)
    assert len(needed) == catalogue.count("Needs ") > 0
    names = {re.split(r"[<>=\[]", name)[0] for name in installed("worker-packages")}
    assert {name for said in needed for name in re.split(r" and |, ", said)} <= names


def test_images_can_be_built_where_only_a_mirror_of_the_package_index_is_reached() -> None:
    installing = [
        s for s in DOCKERFILE.stages.values() if any("pip install" in rest for _, rest in s.instructions)
    ]
    assert len(installing) == 3
    assert all(("ARG", 'PIP_INDEX_URL=""') in stage.instructions for stage in installing)


def test_an_image_is_built_without_what_stands_below_it_by_a_builder_that_makes_all_above() -> None:
    stages = list(DOCKERFILE.stages)
    assert stages.index("courier") < stages.index("worker-packages"), (
        "needs the index of PyTorch's CPU builds"
    )
    assert stages.index("worker") < stages.index("vllm-packages")


@pytest.mark.parametrize("certificate", ["", "-----BEGIN CERTIFICATE-----"])
def test_a_mirror_s_authority_is_trusted_besides_the_known_ones(certificate: str, tmp_path: Path) -> None:
    making = DOCKERFILE.stages["service-packages"].instructions
    (script,) = [rest.partition(" && ")[2] for word, rest in making if word == "RUN" and "MIRROR_CA" in rest]
    (tmp_path / "known.pem").write_text("known\n", encoding="utf-8")
    for path, ours in (("/etc/ssl/certs/ca-certificates.crt", "known.pem"), ("/etc/pip.conf", "pip.conf")):
        script = script.replace(path, ours)
    env = {"MIRROR_CA": base64.b64encode(certificate.encode()).decode(), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=env, check=True)  # noqa: S607
    told = tmp_path / "pip.conf"
    assert told.exists() == bool(certificate)
    if certificate:
        assert told.read_text(encoding="utf-8") == "[global]\ncert = /build/mirror.pem\n"
        assert (tmp_path / "mirror.pem").read_text(encoding="utf-8") == f"known\n{certificate}"


@pytest.mark.parametrize(("build", "wanted"), [("cpu", "+cpu"), ("cu130", "+cu130"), ("", "")])
def test_torch_and_torchvision_asked_of_pip_are_of_the_build_that_was_named(build: str, wanted: str) -> None:
    runs = [rest for word, rest in DOCKERFILE.stages["worker-packages"].instructions if word == "RUN"]
    asked = runs[0].split(" || ")[0].removeprefix("pip install -c constraints.txt ")
    done = subprocess.run(
        ["sh", "-euc", f"echo {asked}"],  # noqa: S607
        cwd=ROOT,
        env={"TORCH_BUILD": build, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    local = re.escape(wanted)
    assert re.fullmatch(rf"torch==[\d.]+{local} torchvision==[\d.]+{local}", done.stdout.strip())


def test_api_and_courier_start_without_what_only_workers_have() -> None:
    absent = [re.split(r"[<>=\[]", name)[0] for name in dependencies("worker")]
    hiding = "".join(f"sys.modules[{name!r}] = None; " for name in absent)
    code = f"import sys; {hiding}import api.app, worker.courier"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
