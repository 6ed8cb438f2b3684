"""`sightline node` as a supervisor runs it: what it shows, leaves and ends with; and two of one catalogue."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from shared.metrics.metric_types import PORTS
from sightline.cli import main
from sightline.exits import Exit
from tests.support.clients import Api, until
from tests.support.ports import free_port
from tests.support.processes import Process, alive
from tests.support.service import COURIER, START_S, Service, running_service

NAMES = ("a/one", "a/two")
MODELS = "".join(
    f'[[models]]\nid = "{name}"\nengine = "echo"\noptions = {{ step_s = 0.1 }}\n' for name in NAMES
)
pytestmark = pytest.mark.timeout(3 * START_S)


@pytest.fixture
def service() -> Iterator[Service]:
    """Nothing of it is started yet."""
    with running_service(MODELS, {"SIGHTLINE_QUEUE__DRAIN_S": "1"}) as service:
        yield service


def test_a_node_beats_for_itself_its_workers_are_scraped_and_all_end_with_it(service: Service) -> None:
    service.ready("api", COURIER)
    beats, port = service.folder / "heartbeat", free_port()
    env = {"SIGHTLINE_HEARTBEAT_FILE": str(beats), "SIGHTLINE_METRICS__LISTEN": f"127.0.0.1:{port}"}
    node = service.add_node("node", env)
    node.start()
    with Api(service.url()) as api:
        for name in NAMES:
            answer = api.post(f"/models/{name}", json={"inputs": "yes"}, headers={"x-wait-for-model": "true"})
            assert answer.json() == [{"generated_text": "yes"}]
    until(lambda: scraped(port) == set(NAMES), START_S)
    workers = below(node)
    node.terminate()
    assert node.wait() == Exit.OK
    assert not [pid for pid in workers if alive(pid)]
    assert beats.read_text() == "ready", "no worker writes there that it is gone"


def scraped(first: int) -> set[str]:
    """The models whose workers serve their metrics at one of the first two ports that are served."""
    pages: list[str] = []
    for port in range(first, first + PORTS):
        with suppress(httpx.TransportError):
            pages.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        if len(pages) == len(NAMES):
            break
    return {name for name in NAMES for page in pages if f'model="{name}"' in page}


def below(process: Process) -> set[int]:
    return {child.pid for child in psutil.Process(process.pid).children(recursive=True)}


def test_an_unloaded_model_is_gone_until_asked_for(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.ready("api", COURIER)
    node = service.add_node("node", {})
    node.start()
    with Api(service.url()) as api:
        for text in ("one", "two"):
            until(lambda: len(workers_of(api, NAMES[0])) == 1, START_S)
            answer = api.post(
                f"/models/{NAMES[0]}", json={"inputs": text}, headers={"x-wait-for-model": "true"}
            )
            assert answer.json() == [{"generated_text": text}]
            assert main(["models", "unload", NAMES[0], "--url", service.url()]) == Exit.OK
            until(lambda: not workers_of(api, NAMES[0]), START_S)
            assert api.get(f"/v1/models/{NAMES[0]}").json()["residency"]["state"] == "cold"
            api.submit(model=NAMES[0], input={"prompt": f"more than {text}"})
        assert main(["models", "unload", "a/none", "--url", service.url()]) != Exit.OK
    assert "the next request loads it again" in capsys.readouterr().out


def test_two_nodes_load_a_model_once_and_the_one_that_stays_goes_on_with_what_the_other_began(
    service: Service,
) -> None:
    nodes = [service.add_node(name, {}) for name in ("first", "second")]
    service.ready("api", COURIER)
    service.start("first", "second")
    with Api(service.url()) as api:
        job = api.submit(model=NAMES[0], input={"prompt": " ".join(["word"] * 60)})
        until(lambda: api.get(f"/v1/jobs/{job}").json()["status"] == "running", START_S)
        (worker,) = workers_of(api, NAMES[0])
        (leaving,) = [node for node in nodes if worker["pid"] in below(node)]
        leaving.terminate()
        assert leaving.wait() == Exit.OK
        ended = api.ended(job)
    assert (ended["status"], len(ended["attempts"])) == ("succeeded", 2)


def workers_of(api: Api, model: str) -> list[dict[str, Any]]:
    rows = api.get("/v1/admin/fleet").json()["models"]
    return next(list(row["workers"]) for row in rows if row["model"] == model)


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"SIGHTLINE_MODELS_FILE": "/nowhere/models.toml"}, Exit.USAGE, "/nowhere/models.toml"),
        ({"SIGHTLINE_NODE__MEMORY_MB": "1"}, Exit.MEMORY, "Not enough memory"),
    ],
)
def test_a_node_that_can_serve_nothing_says_why_and_ends(
    env: dict[str, str], code: Exit, said: str, service: Service
) -> None:
    node = service.add_node("node", env)
    node.start()
    assert node.wait() == code
    assert said in service.log("node")
