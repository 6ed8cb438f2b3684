"""The front end's own log lines are written, at the level that was asked for."""

import logging
from pathlib import Path

import pytest
from asgi_lifespan import LifespanManager

from api.app import create_app
from shared.api_keys import new_secret
from shared.settings import Settings
from tests.routes.conftest import Deployment
from tests.support.keys import KEYED, calling


async def test_what_the_front_end_logs_is_written_at_the_level_asked_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = logging.root.level
    # pytest's own handlers would keep ours away.
    monkeypatch.setattr(logging.root, "handlers", [])
    settings = Settings(
        log_level="info", redis=deployment.worker.settings.redis, models_file=tmp_path / "models.toml"
    )
    try:
        async with LifespanManager(create_app(settings)):
            logging.getLogger("api.server").debug("too much")
            logging.getLogger("api.server").info("just enough")
    finally:
        logging.root.setLevel(before)

    assert capfd.readouterr().err.rstrip().endswith("INFO api.server: just enough")


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_who_groups_the_log_by_route_finds_those_who_guess_at_keys(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.server")
    async with calling(deployment.app, new_secret()) as stranger:
        await stranger.get("/v1/jobs")
    (line,) = [record for record in caplog.records if record.name == "api.server"]
    told = line.__dict__["fields"]
    assert (told["method"], told["route"], told["status"]) == ("GET", "other", 401)
