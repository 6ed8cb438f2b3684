"""The services start as `docker-compose.yml` and its page say: read without Docker, which no test needs."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings, known_names, load_settings
from sightline.serving import processes
from tests.support.containers import Dockerfile, VariableMissingError, compose, variables
from tests.support.service import ROOT
from tests.support.typed import parsed

COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
DEPLOY = ROOT / "deploy"
DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
PAGE = (ROOT / "docs/containers.md").read_text(encoding="utf-8")
PASSWORD = "0123abcd" * 8
ADMIN_KEY = "4567cdef" * 8
SECRETS = {"COMPOSE_SIGHTLINE_REDIS_PASSWORD": PASSWORD, "SIGHTLINE_API__ADMIN_KEY": ADMIN_KEY}
MADE = (*SECRETS, "SIGHTLINE_METRICS__TOKEN", "COMPOSE_SIGHTLINE_GRAFANA_PASSWORD")
SERVICES: dict[str, Any] = compose(COMPOSE, SECRETS)["services"]
OURS = sorted(name for name, row in SERVICES.items() if "build" in row)
NODES = {"node", "node-gpu", "node-vllm"}
COMMANDS = [line[2:] for line in PAGE.splitlines() if line.startswith("$ ")]


def target(service: str) -> str:
    return str(SERVICES[service]["build"]["target"])


def filled() -> set[str]:
    """The variables that are written out in the compose file."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def make_env(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command that `.env.example` and the page tell people to type."""
    shutil.copy(EXAMPLE, folder)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", COMMANDS[0]],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("service", OURS)
def test_the_environment_of_a_container_is_one_the_settings_accept(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = DOCKERFILE.env(target(service)) | SERVICES[service]["environment"]
    for name, value in env.items():
        if name.startswith("SIGHTLINE_"):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.redis.url.get_secret_value() == f"redis://:{PASSWORD}@redis:6379/0"
    mounts = [mount.split(":")[1] for mount in SERVICES[service]["volumes"]]
    assert {str(settings.models_file), settings.blobs.url} <= set(mounts)
    assert target(service) == "api" or str(settings.heartbeat_file).startswith("/tmp/")  # noqa: S108


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_without_secrets_of_its_own(name: str) -> None:
    with pytest.raises(VariableMissingError, match=name):
        compose(COMPOSE, SECRETS | {name: ""})


def test_the_api_asks_for_keys_and_no_other_process_knows_the_first_one() -> None:
    knowing = {name for name, row in SERVICES.items() if ADMIN_KEY in json.dumps(row)}
    assert knowing == {"api"}
    assert SERVICES["api"]["environment"]["SIGHTLINE_API__ADMIN_KEY"] == ADMIN_KEY


@pytest.mark.skipif(not shutil.which("openssl"), reason="the command makes its password with openssl")
def test_the_command_for_the_password_writes_it_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first = make_env(tmp_path)
    assert first.returncode == 0, first.stderr
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    made_up = [variables(made)[name] for name in MADE]
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in made_up)
    assert len(set(made_up)) == len(MADE)
    assert make_env(tmp_path).returncode != 0
    assert [variables(made)[name] for name in MADE] == made_up
    assert f"#   {COMMANDS[0]}\n" in (tmp_path / ".env.example").read_text(encoding="utf-8")


def test_every_variable_of_the_compose_file_is_explained_in_the_example_and_no_other() -> None:
    explained, taken = set(variables(EXAMPLE)), filled()
    assert taken - {"SIGHTLINE_BLOBS__URL"} <= explained
    assert explained - taken - {"COMPOSE_PROFILES"} <= known_names()


def test_a_setting_in_env_reaches_the_processes_that_read_it() -> None:
    """Only paths and a port are the images' own, and the record store's URL is made of its password."""
    own = {"SIGHTLINE_MODELS_FILE", "SIGHTLINE_HEARTBEAT_FILE", "SIGHTLINE_METRICS__LISTEN"}
    # A node names each of its workers.
    fixed = own | {"SIGHTLINE_REDIS__URL", "SIGHTLINE_WORKER__ID", "SIGHTLINE_WORKER__ROW"}
    secret = {"SIGHTLINE_API__ADMIN_KEY", "SIGHTLINE_METRICS__TOKEN", "SIGHTLINE_WEBHOOK__SECRET"}
    given = {name: f"value of {name}" for name in known_names() - fixed}
    services = compose(COMPOSE, SECRETS | given)["services"]
    reached = {name: given.items() & services[name]["environment"].items() for name in OURS}
    assert reached["api"] == given.items()
    for name in NODES:
        assert {setting for setting, _ in reached[name]} == set(given) - secret
    assert {setting for setting, _ in reached["courier"]} == set(given) - secret | {
        "SIGHTLINE_WEBHOOK__SECRET"
    }


def test_no_process_but_nodes_is_given_the_token_of_the_hub() -> None:
    services = compose(COMPOSE, SECRETS | {"HF_TOKEN": "hf_1"})["services"]
    assert {name for name in services if "hf_1" in json.dumps(services[name])} == NODES


def test_callers_behind_a_proxy_are_told_apart_once_its_address_is_named() -> None:
    services = compose(COMPOSE, SECRETS | {"COMPOSE_SIGHTLINE_FORWARDED_ALLOW_IPS": "172.18.0.1"})["services"]
    assert services["api"]["environment"]["FORWARDED_ALLOW_IPS"] == "172.18.0.1"
    assert SERVICES["api"]["environment"]["FORWARDED_ALLOW_IPS"] == "", "nobody chooses an address by himself"


def test_an_untouched_example_changes_no_default_but_asks_for_secrets() -> None:
    example = {name: value for name, value in variables(EXAMPLE).items() if value}
    services = compose(COMPOSE, example | SECRETS)["services"]
    assert services.pop("node")["environment"].pop("SIGHTLINE_WORKER__THREADS") == str(
        Settings().worker.threads
    )
    for name, row in services.items():
        row["environment"].pop("SIGHTLINE_WORKER__THREADS", None)
        assert row == SERVICES[name]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_may_write_to_its_volumes_only_and_is_never_root(service: str) -> None:
    row = SERVICES[service]
    assert row["read_only"] is True
    assert row["cap_drop"] == ["ALL"]
    assert row["security_opt"] == ["no-new-privileges:true"]
    assert row["restart"] == "unless-stopped"
    user = DOCKERFILE.last(target(service), "USER") if service in OURS else row["user"]
    assert user not in ("", "root", "0", "0:0")
    binds = [mount for mount in row["volumes"] if mount.startswith(".")]
    assert all(mount.endswith(":ro") and (ROOT / mount.split(":")[0]).exists() for mount in binds)


def test_strangers_reach_neither_the_record_store_nor_the_api_of_an_untouched_installation() -> None:
    published = {name: row["ports"] for name, row in SERVICES.items() if "ports" in row}
    assert published == {
        "api": ["127.0.0.1:8000:8000"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    networks = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["networks"]
    assert SERVICES["redis"]["networks"] == ["records"]
    assert networks["records"] == {"internal": True}


def test_the_record_store_keeps_accepted_jobs_and_no_command_line_shows_its_password() -> None:
    (script,) = SERVICES["redis"]["command"]
    for line in ("appendonly yes", "maxmemory-policy noeviction", "maxmemory 1gb", "dir /data"):
        assert f"{line}\n" in script
    assert "requirepass $REDISCLI_AUTH\n" in script
    for row in SERVICES.values():
        spoken = [row.get("command"), row.get("entrypoint"), row.get("healthcheck"), row.get("build")]
        assert not [secret for secret in SECRETS.values() if secret in json.dumps(spoken)]


@pytest.mark.parametrize("service", OURS)
def test_a_stopped_container_has_time_to_give_its_work_back(service: str) -> None:
    roles = {"api": processes.api(Settings(), "127.0.0.1", 8000), "courier": processes.courier(Settings())}
    grace = roles[service].grace_s if service in roles else Settings().queue.drain_s + 5
    assert seconds(SERVICES[service]["stop_grace_period"]) > grace


@pytest.mark.parametrize("service", OURS)
def test_an_engine_that_drops_an_image_s_health_check_finds_the_same_one_here(service: str) -> None:
    options, _, command = DOCKERFILE.last(target(service), "HEALTHCHECK").partition(" CMD ")
    said = SERVICES[service]["healthcheck"]
    assert said["test"] == ["CMD", *json.loads(command)]
    names = ("interval", "timeout", "start-period", "retries")
    assert options.split() == [f"--{name}={said[name.replace('-', '_')]}" for name in names]


def test_every_node_and_the_monitoring_start_with_their_profiles_only() -> None:
    profiles = {name: row["profiles"] for name, row in SERVICES.items() if "profiles" in row}
    assert profiles == {
        "node": ["cpu"],
        "node-gpu": ["gpu"],
        "node-vllm": ["vllm"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }
    assert variables(EXAMPLE)["COMPOSE_PROFILES"] == "cpu"
    asking = {name: row["deploy"] for name, row in SERVICES.items() if "reservations" in json.dumps(row)}
    assert asking.keys() == {"node-gpu", "node-vllm"}
    for row in asking.values():
        (device,) = row["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICES["node"]["build"]["args"]["TORCH_BUILD"] == "cpu"


def test_prometheus_scrapes_the_api_with_the_token_that_it_was_given() -> None:
    services = compose(COMPOSE, SECRETS | {"SIGHTLINE_METRICS__TOKEN": "token"})["services"]
    (script,) = services["prometheus"]["command"]
    example, ours = (
        yaml.safe_load((DEPLOY / f"prometheus/{name}.yml").read_text()) for name in ("prometheus", "compose")
    )
    job, workers = ours["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["api:8000"]}]
    assert f'}}" > {job["authorization"]["credentials_file"]}\n' in script
    assert services["prometheus"]["environment"]["TOKEN"] == "token"
    assert {name: ours[name] for name in ("global", "rule_files")} == {
        name: example[name] for name in ("global", "rule_files")
    }
    names = [[row["job_name"] for row in file["scrape_configs"]] for file in (ours, example)]
    assert names[0] == names[1], "the alerts' own"
    hosts = {"courier", *NODES}
    assert all(set(asked["names"]) == hosts for asked in workers["dns_sd_configs"])
    listening = {SERVICES[name]["environment"]["SIGHTLINE_METRICS__LISTEN"] for name in hosts}
    first, *more = [asked["port"] for asked in workers["dns_sd_configs"]]
    assert listening == {f"0.0.0.0:{first}"}
    # A node's workers take the next free ports.
    assert [f"127.0.0.1:{port}" for port in (first, *more)] == example["scrape_configs"][1]["static_configs"][
        0
    ]["targets"]


def test_grafana_finds_its_prometheus_and_the_dashboard() -> None:
    folder = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (board,) = yaml.safe_load((folder / "dashboards/sightline.yml").read_text())["providers"]
    mounts = [mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"]]
    assert (source["type"], source["url"], source["isDefault"]) == (
        "prometheus",
        "http://prometheus:9090",
        True,
    )
    assert ["./deploy/grafana/sightline.json", board["options"]["path"]] in mounts


PROFILES = {profile for row in SERVICES.values() for profile in row.get("profiles", [])}
COMMAND_WORDS = {"docker", "compose", "build", "restart", "up", "ps", "exec"}
OPTIONS = {"--profile", "-d", "--wait", "--scale"}


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_command_of_the_page_names_services_and_options_that_are_there(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "curl":
        assert words[1:] == ["http://127.0.0.1:8000/ready"]
        return
    if "exec" in words:
        parsed(shlex.split(words.pop().partition("-m sightline ")[2]))
        words = words[: words.index("exec") + 2]
    scaled = [word.partition("=") for word in words]
    assert {name for name, _, _ in scaled} <= {*SERVICES, *PROFILES, *COMMAND_WORDS, *OPTIONS}
    assert all(count.isdigit() for _, equals, count in scaled if equals)
