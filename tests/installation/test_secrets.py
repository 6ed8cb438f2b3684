"""`sightline run` with every secret there is, over TLS on both sides: it serves, and tells none of them."""

import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.installation.test_run import READY_S, Service, service, stop
from tests.support.redis_server import redis_server
from tests.support.tls import certificates, tls_front

MODELS = """
[[models]]
id = "sightline/echo"
engine = "echo"
"""
USERS = Path(__file__).parents[2] / "examples/redis/users.acl"
PASSWORD, ADMIN_KEY = "records-password-0123456789", "operators-key-0123456789-abcdefghij"
WEBHOOK_SECRET = "signs-our-webhooks-0123456789"
SECRETS = (PASSWORD, ADMIN_KEY, WEBHOOK_SECRET)

pytestmark = pytest.mark.timeout(4 * READY_S)


@dataclass
class Secured:
    """A running service and a client that trusts its certificate and has the admin key."""

    running: Service
    client: httpx.Client
    data: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The record store is reached over TLS, by a user who may do what workers do. The last test stops it."""
    folder = tmp_path_factory.mktemp("secured")
    (words,) = [
        line.split() for line in USERS.read_text(encoding="utf-8").splitlines() if "sightline-worker" in line
    ]
    models = folder / "models.toml"
    models.write_text(MODELS, encoding="utf-8")
    made, data = certificates(folder), folder / "data"
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        with Redis(port=redis.port) as admin:
            admin.execute_command("ACL", "SETUSER", *words[1:], f">{PASSWORD}")
        port = stack.enter_context(tls_front(redis.port, made, asks_clients=True))
        settings = {
            "REDIS__URL": f"rediss://sightline-worker:{PASSWORD}@127.0.0.1:{port}/0",
            "REDIS__TLS_CA": str(made.ca),
            "REDIS__TLS_CERT": str(made.client_cert),
            "REDIS__TLS_KEY": str(made.client_key),
            "API__TLS_CERT": str(made.cert),
            "API__TLS_KEY": str(made.key),
            "API__ADMIN_KEY": ADMIN_KEY,
            "WEBHOOK__SECRET": WEBHOOK_SECRET,
            "MODELS_FILE": str(models),
            "LOG_LEVEL": "debug",
        }
        running = stack.enter_context(service(data, environ={}, **settings))
        running.wait_for("serving on https://")
        trust = ssl.create_default_context(cafile=str(made.ca))
        url = running.url.replace("http:", "https:")
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        client = stack.enter_context(httpx.Client(base_url=url, verify=trust, headers=headers, timeout=60))
        yield Secured(running, client, data)


def test_all_of_it_serves_over_tls_and_no_secret_is_on_a_command_line_or_in_a_log(secured: Secured) -> None:
    job = {"model": "sightline/echo", "input": {"prompt": "Hi"}}
    reply = secured.client.post("/v1/jobs", json=job, headers={"prefer": "wait=60"})
    assert (reply.status_code, reply.json()["status"]) == (200, "succeeded")
    key = secured.client.post("/v1/admin/keys", json={"name": "shop"}).json()["secret"]
    assert secured.client.get("/v1/jobs", headers={"authorization": f"Bearer {key}"}).status_code == 200
    secured.client.get("/v1/jobs", headers={"authorization": f"Bearer {ADMIN_KEY}x"})

    shown = {str(pid): json.dumps(argv) for pid, argv in secured.running.commands().items()}
    assert any("--ssl-certfile" in line for line in shown.values())
    assert not any("valkey-server" in line for line in shown.values()), "beside the server that was named"
    stop(secured.running)
    logs = sorted(secured.data.glob("logs/*.log"))
    assert {log.stem for log in logs} >= {"api", "courier"}
    shown |= {log.name: log.read_text(errors="replace") for log in [*logs, secured.running.output]}
    found = [(name, secret) for name, text in shown.items() for secret in (*SECRETS, key) if secret in text]
    assert found == []
