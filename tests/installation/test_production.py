"""The page from an empty box to production, typed block by block on stand-ins for the system's programs."""

import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.support.load import MODEL, Load, submit
from tests.support.ports import free_port
from tests.support.redis_server import binary
from tests.support.service import ROOT
from tests.support.snippets import FENCE
from tests.support.tls import Certificates, certificates, tls_front

PAGE = ROOT / "docs/production.md"
BIN = Path(sys.executable).parent
LIMIT_S = 150
pytestmark = [
    pytest.mark.timeout(4 * LIMIT_S),
    pytest.mark.skipif(sys.platform != "linux", reason="the page is about Linux's programs"),
]
STANDINS = ("chown", "apt-get", "certbot", "git")
"""What does nothing here."""
FOLDERS = ("/etc/", "/var/lib/", "/backup/")
SUDO = """\
while [ "${1#-}" != "$1" ]; do shift 2; done
exec "$@"
"""


def steps() -> dict[str, list[str]]:
    """The shell blocks by the title of their step, without its number."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        part.partition("\n")[0].partition(". ")[2]: [code for _, code in FENCE.findall(part)]
        for part in parts
    }


class Box:
    """One machine: its files in a folder, its shell, and what stands for its programs."""

    def __init__(self, folder: Path, replaced: dict[str, str], env: dict[str, str]) -> None:
        self.folder, self._replaced = folder, replaced
        for name in (
            "bin",
            "pids",
            "backup",
            "etc/redis",
            "etc/prometheus",
            "etc/systemd/system",
            "var/lib/redis",
        ):
            (folder / name).mkdir(parents=True)
        self._program("sudo", SUDO)
        self._program("systemctl", f'exec {sys.executable} {ROOT}/tests/support/systemctl.py {folder} "$@"')
        self._program("redis-cli", f'exec {sys.executable} -m tests.support.redis_cli "$@"')
        for name in STANDINS:
            self._program(name, ":")
        path = f"{folder}/bin:{os.environ['PATH']}"
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1", **env}
        self.url = ""

    def types(self, code: str) -> str:
        """What a block prints; variables that it sets are there in the next."""
        setting = [line for line in code.splitlines() if re.match(r"(?:export )?[A-Z_]+=", line)]
        names = " ".join(name for line in setting for name in re.findall(r"\b([A-Z_]+)=", line))
        keep = f"\ndeclare -p {names} >> {self.folder}/variables" if names else ""
        script = f"touch {self.folder}/variables; . {self.folder}/variables\n{self.here(code)}{keep}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout + self.logs()
        return done.stdout

    def here(self, text: str) -> str:
        """With this machine's paths, ports and programs."""
        text = re.sub(r" -(?:o|g) \w+", "", text)
        text = text.replace(".venv/bin/python -m pip", "true").replace("/opt/sightline/.venv", sys.prefix)
        text = text.replace("/opt/sightline", str(ROOT))
        for name, value in self._replaced.items():
            text = text.replace(name, value)
        text = text.replace(".venv/bin/sightline", f"{sys.executable} -m sightline")
        for name in FOLDERS:
            text = re.sub(rf"(?<![\w/]){name}", f"{self.folder}{name}", text)
        return text

    def logs(self) -> str:
        return "".join(f"\n--- {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def end(self) -> None:
        for file in (self.folder / "pids").iterdir():
            with suppress(ProcessLookupError):
                os.killpg(int(file.read_text()), signal.SIGKILL)

    def _program(self, name: str, code: str) -> None:
        (self.folder / "bin" / name).write_text(f"#!/bin/bash\n{code}\n", encoding="utf-8")
        (self.folder / "bin" / name).chmod(0o755)


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return certificates(tmp_path)


@pytest.fixture
def first(tmp_path: Path, made: Certificates) -> Iterator[Box]:
    redis, api = free_port(), free_port()
    replaced = {
        "vision.example.com:8443": f"127.0.0.1:{api}",
        "127.0.0.1:6379": f"127.0.0.1:{redis}",
        "0.0.0.0 --port 8443": f"127.0.0.1 --port {api}",
        "deploy/systemd": f"{tmp_path}/first/deploy",
    }
    trusted = {"SSL_CERT_FILE": str(made.ca), "CURL_CA_BUNDLE": str(made.ca)}
    box = Box(tmp_path / "first", replaced, {"REDIS_PORT": str(redis), **trusted})
    box.url = f"https://127.0.0.1:{api}"
    redis_conf = box.folder / "etc/redis/redis.conf"
    redis_conf.write_text(f"port {redis}\nbind 127.0.0.1\ndir {box.folder}/var/lib/redis\n", encoding="utf-8")
    (box.folder / "redis.command").write_text(shlex.join([str(binary()), str(redis_conf)]), encoding="utf-8")
    live = box.folder / "etc/letsencrypt/live/vision.example.com"
    live.mkdir(parents=True)
    (live / "fullchain.pem").write_bytes(made.cert.read_bytes())
    (live / "privkey.pem").write_bytes(made.key.read_bytes())
    _deployed(box)
    yield box
    box.end()


def _deployed(box: Box) -> None:
    """The files of deploy/systemd, with this machine's paths and a model that needs no torch."""
    there = box.folder / "deploy"
    there.mkdir()
    for file in (ROOT / "deploy/systemd").iterdir():
        text = file.read_text(encoding="utf-8").replace("Qwen/Qwen3-VL-4B-Instruct", MODEL)
        text = text.replace("source =", 'engine = "echo"\nsource =')
        (there / file.name).write_text(box.here(text), encoding="utf-8")


def test_the_page_leads_from_an_empty_box_to_two(first: Box, made: Certificates, tmp_path: Path) -> None:
    typed = steps()
    for title in ("Settings and Redis", "TLS", "Start"):
        for code in typed[title]:
            first.types(code)
    answered = first.types(typed["Keys"][0])
    keys = re.findall(r"\bsl_[0-9a-f]{40}\b", answered)
    assert len(set(keys)) == 3, answered
    url = first.url
    trust = ssl.create_default_context(cafile=made.ca)
    with httpx.Client(base_url=url, verify=trust, timeout=60) as client:
        _limits_are_kept(client, *keys)
        _prometheus_reads(first, typed["Prometheus"][0], client)
        ready = typed["Start"][0].splitlines()[-1]
        headers = {"authorization": f"Bearer {keys[1]}"}
        with httpx.Client(base_url=url, verify=trust, timeout=60, headers=headers) as red:
            back_up, restore = typed["Back up and restore"]
            _a_back_up_is_restored(first, red, back_up, f"{restore}\n{ready}")
        _a_second_box_joins(first, made, tmp_path, client, keys[0])
        for code in typed["Update"]:
            first.types(code)
        first.types(ready)


def _a_back_up_is_restored(box: Box, client: httpx.Client, back_up: str, restore: str) -> None:
    """Under load; who asks again for what came later, under the same key, is answered."""
    with Load(client) as load:
        kept = list(load.accepted)
        box.types(back_up)
        load.more()
    lost, text = load.accepted[-1]
    box.types(restore)
    for job, _ in kept:
        assert client.get(f"/v1/jobs/{job}?wait=30").json()["status"] == "succeeded"
    gone = client.get(f"/v1/jobs/{lost}")
    assert (gone.status_code, gone.json()["code"]) == (404, "job_not_found")
    again = submit(client, text).json()["id"]
    assert client.get(f"/v1/jobs/{again}?wait=30").json()["result"]["text"] == text


def _submitted(client: httpx.Client, key: str) -> str:
    body = {"model": MODEL, "input": {"prompt": "What is a job?"}}
    made = client.post("/v1/jobs", json=body, headers={"authorization": f"Bearer {key}"})
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


def _limits_are_kept(client: httpx.Client, operators: str, red: str, blue: str) -> None:
    assert client.get("/v1/jobs").status_code == 401
    job = _submitted(client, red)
    headers = {"authorization": f"Bearer {red}"}
    assert client.get(f"/v1/jobs/{job}?wait=30", headers=headers).json()["status"] == "succeeded"
    counted = client.post("/v1/jobs", json={}, headers=headers)
    assert "q=600" in counted.headers["ratelimit-policy"]
    assert client.get(f"/v1/jobs/{job}", headers={"authorization": f"Bearer {blue}"}).status_code == 404
    assert client.get("/v1/admin/keys", headers={"authorization": f"Bearer {red}"}).status_code == 403
    listed: Any = client.get("/v1/admin/keys", headers={"authorization": f"Bearer {operators}"}).json()
    assert {row["name"] for row in listed["data"]} >= {"operators", "team red", "team blue"}


def _prometheus_reads(box: Box, code: str, client: httpx.Client) -> None:
    box.types("\n".join(line for line in code.splitlines() if not line.startswith("promtool")))
    token = (box.folder / "etc/prometheus/sightline-token").read_text()
    assert client.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 200
    written = (box.folder / "etc/prometheus/prometheus.yml").read_text()
    assert "scheme: https\n    authorization:\n      credentials_file:" in written
    (box.folder / "etc/prometheus/prometheus.yml").write_text(box.here(written))
    (checked,) = (line for line in code.splitlines() if line.startswith("promtool"))
    box.types(f"if command -v promtool; then {checked}; fi")


def _a_second_box_joins(
    first: Box, made: Certificates, tmp_path: Path, client: httpx.Client, operators: str
) -> None:
    redis = int(re.findall(r"port (\d+)", (first.folder / "etc/redis/redis.conf").read_text())[0])
    conf = (first.folder / "etc/redis/sightline.conf").read_text()
    (user,) = re.findall(r"^# (user sightline-worker.*)$", conf, re.MULTILINE)
    password = re.findall(r"requirepass (\w+)", conf)[0]
    with Redis(port=redis, password=password) as admin:
        name, *rules = user.split()[1:]
        admin.execute_command("ACL", "SETUSER", name, *rules)
    with tls_front(redis, made) as port:
        replaced = {
            "10.0.0.11:6380": f"127.0.0.1:{port}",
            "/var/lib/sightline/blobs": f"{first.folder}/var/lib/sightline/blobs",
            "deploy/systemd": f"{tmp_path}/second/deploy",
        }
        second = Box(tmp_path / "second", replaced, {})
        try:
            _deployed(second)
            (second.folder / "etc/sightline").mkdir()
            (second.folder / "etc/sightline/ca.pem").write_bytes(made.ca.read_bytes())
            (worker,) = re.findall(r"on >(\w+) ", user)
            second.types(f"WORKER={worker}\n" + steps()["A second box"][1])
            first.types("sudo systemctl stop sightline@node")
            sent = {"authorization": f"Bearer {operators}"}
            job = _submitted(client, operators)
            moved = client.get(f"/v1/jobs/{job}?wait=60", headers=sent).json()
            assert moved["status"] == "succeeded", "the second box loads what the first one served"
            second.types("sudo systemctl stop sightline@node")
            first.types("sudo systemctl start sightline@node")
        finally:
            second.end()
            if sys.exc_info()[0]:
                print(second.logs())
