"""A model is fetched from the hub once, whole, whatever breaks on the way, and a refusal says what to do."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from sightline.exits import CommandError, Exit
from sightline.model_setup.argument import ModelArgument, write_models_file
from sightline.model_setup.download import described
from tests.support.model_hub import ModelHub, model_hub
from tests.support.patience import PATIENCE_S

TINY = Path("models/tiny")
PIECE = 2**16
WEIGHTS = (TINY / "model.safetensors").stat().st_size


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    # The library keeps what it has received in such pieces.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", PIECE)
    # Its weights in two formats, of which one is fetched.
    shutil.copytree(TINY, tmp_path / "tiny")
    (tmp_path / "tiny/pytorch_model.bin").touch()
    with model_hub("org/tiny", tmp_path / "tiny") as served:
        reach(served.url, monkeypatch)
        yield served


def reach(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does, which is read at import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_weights_come_after_what_describes_them_and_a_broken_transfer_goes_on_where_it_ended(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = described("org/tiny")
    assert (model.weights, model.missing) == (WEIGHTS, WEIGHTS)
    assert (model.folder / "config.json").is_file()
    assert not (model.folder / "model.safetensors").exists(), "before it is known whether it fits"

    model.download()
    assert (model.folder / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    assert hub.ranges == [f"bytes={WEIGHTS // 2 // PIECE * PIECE}-"]
    assert not (model.folder / "pytorch_model.bin").exists()
    reach("http://127.0.0.1:9", monkeypatch)
    again = described("org/tiny")
    assert (again.weights, again.missing) == (WEIGHTS, 0), "it is here, and serves without a network"
    with pytest.raises(CommandError, match="org/other is not on this machine yet") as refused:
        described("org/other")
    assert refused.value.code is Exit.UNREACHABLE


@pytest.mark.usefixtures("hub")
def test_a_proxy_that_cannot_be_used_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    close_session()
    with pytest.raises(CommandError, match=r"org/tiny could not be fetched whole .*socksio"):
        described("org/tiny")
    close_session()


@pytest.mark.usefixtures("hub")
def test_an_id_that_the_hub_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(CommandError, match=r"has no org/tyni, or not for you") as refused:
        described("org/tyni")
    assert refused.value.code is Exit.USAGE


def test_a_licence_that_is_not_accepted_is_named(hub: ModelHub) -> None:
    hub.gated = True
    with pytest.raises(CommandError, match=r"accept its licence .* and set HF_TOKEN"):
        described("org/tiny")


def test_a_disk_without_room_is_found_before_the_first_byte(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = described("org/tiny")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(CommandError, match="HF_HOME names another folder") as refused:
        model.download()
    assert refused.value.code is Exit.DATA
    assert not hub.ranges


def test_a_package_that_a_processor_lacks_is_named_before_gigabytes_are_fetched(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tiny/video_preprocessor_config.json").write_text("{}")
    monkeypatch.setattr("shared.model_files.find_spec", lambda _: None)
    with pytest.raises(CommandError, match=r"pip install .*torchvision torch=="):
        write_models_file(ModelArgument("org/tiny"), 1, (), tmp_path / "models.toml", print)
    assert not hub.ranges


CTRL_C = """
import os, signal, sys, threading
from pathlib import Path
from huggingface_hub import constants
from sightline.model_setup.argument import ModelArgument, write_models_file
from sightline.model_setup.download import described
from tests.support.model_hub import model_hub

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

with model_hub("org/tiny", Path(sys.argv[1])) as hub:
    constants.ENDPOINT = hub.url
    constants.HUGGINGFACE_CO_URL_TEMPLATE = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    model = described("org/tiny")
    hub.files = interrupt
    model.download()
"""


def test_ctrl_c_ends_a_download_at_once(tmp_path: Path) -> None:
    """The library would wait for its threads, and they for the hub."""
    argv = [sys.executable, "-c", CTRL_C, str(TINY)]
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    assert subprocess.run(argv, env=env, timeout=PATIENCE_S).returncode == -signal.SIGINT
