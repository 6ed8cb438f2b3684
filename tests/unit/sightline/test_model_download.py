"""A model is fetched from the hub once, whole, whatever breaks on the way, and a refusal says what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from sightline.exits import CommandError, Exit
from sightline.serving.model_download import described
from tests.support.model_hub import ModelHub, model_hub

TINY = Path("models/tiny")
PIECE = 2**16
WEIGHTS = (TINY / "model.safetensors").stat().st_size


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    # The library keeps what it has received in such pieces.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", PIECE)
    with model_hub("org/tiny", TINY) as served:
        reach(served.url, monkeypatch)
        yield served


def reach(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does, which is read at import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_weights_come_after_what_describes_them_and_a_broken_transfer_goes_on_where_it_ended(
    hub: ModelHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = described("org/tiny")
    assert (model.weights, model.missing) == (WEIGHTS, WEIGHTS)
    assert (model.folder / "config.json").is_file()
    assert not (model.folder / "model.safetensors").exists(), "before it is known whether it fits"

    model.download()
    assert (model.folder / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    assert hub.ranges == [f"bytes={WEIGHTS // 2 // PIECE * PIECE}-"]
    assert f"downloaded 100 % of {WEIGHTS:,} bytes" in capsys.readouterr().err
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


def test_ctrl_c_ends_a_download_at_once_and_leaves_no_half_file(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.breaks = False
    model = described("org/tiny")

    def interrupt(*_: object) -> None:
        import signal

        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("sightline.serving.model_download.tenths", lambda _: interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.download()
    assert not list(tmp_path.rglob("*.incomplete"))
