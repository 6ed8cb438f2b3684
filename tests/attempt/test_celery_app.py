"""Celery hands out nudges over every outage of the broker."""

import os
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.platforms import check_privileges
from celery.worker.state import active_requests
from kombu.entity import Queue
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.settings import RedisSettings, Settings
from shared.store import jobs
from shared.store.nudges import Nudger
from shared.store.script import connect
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from worker.celery_app import Exit, FastReconnectConsumer, make_app

ROOT = Path(__file__).parents[2]
LIMIT_S = PATIENCE_S
AUDIT = """
import os, sys

def audit(event, what):
    if event == "os.putenv" and len(os.listdir("/proc/self/task")) > 1:
        print(what[0], "is set beside threads", flush=True)

if os.path.exists("/proc/self/task"):
    sys.addaudithook(audit)
"""


def test_a_nudge_is_kept_nowhere_and_a_lost_broker_does_not_end_the_worker(redis: RedisServer) -> None:
    settings, taken = RedisSettings(url=redis.url()), list[Any]()
    nudger = Nudger(settings)
    nudger.send("lane")
    nudger._client.close()
    app = make_app("test", settings)
    consumer = object.__new__(FastReconnectConsumer)
    consumer.__dict__.update(app=app, amqheartbeat=0, hub=None)
    connection = consumer.connect()
    channel = connection.default_channel
    with app.amqp.TaskConsumer(connection, [Queue("lane")], on_message=taken.append):
        connection.drain_events(timeout=LIMIT_S)
        with Redis.from_url(settings.broker_url) as broker:
            assert not broker.exists("unacked", "unacked_index")

        for each in (channel, connection.channel()):
            vars(each).update(_in_poll=True, _brpop_read=partial(lost, each))
        # What Celery does with a broken connection, in this order.
        with suppress(RedisConnectionError):
            connection.collect()
        connection.close()
    assert channel.closed
    # Celery may have put it off until the hub had a moment.
    taken[0].ack()


@dataclass(eq=False)
class InHand:
    """To Celery a request, of which the task runs."""

    task: Any
    acknowledged = False
    cancelled = False

    def cancel(self, _: Any) -> None:
        self.cancelled = True


def test_an_outage_of_the_broker_cancels_nothing_and_warns_of_no_change_in_celery(
    redis: RedisServer, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app("test", RedisSettings(url=redis.url()))
    nudge = InHand(app.task(lost))
    app.conf.worker_enable_prefetch_count_reduction = False
    consumer = object.__new__(FastReconnectConsumer)
    consumer.__dict__.update(app=app, amqheartbeat=0, hub=None, channel_errors=())
    consumer.connection = consumer.connect()
    active_requests.add(nudge)
    try:
        consumer.on_connection_error_after_connected(RedisConnectionError())
    finally:
        active_requests.discard(nudge)
    assert (nudge.cancelled, list(recwarn)) == (False, [])
    assert ["Connection to broker lost" in told for told in caplog.messages] == [True]


def lost(channel: Any) -> None:
    """Reading what a channel waits for, when the broker is gone."""
    channel._in_poll = None
    raise RedisConnectionError


@pytest.mark.parametrize(
    ("app", "name"), [("worker.app", "SIGHTLINE_MODELS_FILE"), ("worker.courier", "SIGHTLINE_BLOBS__URL")]
)
def test_a_process_that_cannot_begin_says_why_and_ends(app: str, name: str, tmp_path: Path) -> None:
    """Celery swallows the error, and the process would eat nudges for ever."""
    (tmp_path / "file").touch()
    env = os.environ | {name: str(tmp_path / "file" / "none.toml")}
    argv = [sys.executable, "-m", "worker", "-A", app, "worker", "--pool=threads", "-c", "1", "-Q", "none"]
    ended = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert ended.returncode == Exit.NOT_OPENED
    assert "none.toml" in ended.stderr


def test_callers_hear_of_an_engine_option_that_does_not_exist_and_operators_read_one_line(
    redis: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "org/m"\nengine = "echo"\noptions = { paze = 1 }\n', encoding="utf-8")
    env = os.environ | {"SIGHTLINE_MODELS_FILE": str(file), "SIGHTLINE_REDIS__URL": redis.url()}
    argv = [sys.executable, "-m", "worker", "-A", "worker.app", "worker", "--pool=threads", "-c", "3"]
    ended = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert ended.returncode == Exit.MODEL_FAILED
    assert "Traceback" not in ended.stderr
    assert "the model org/m cannot be loaded: model org/m: options.paze" in ended.stderr
    settings = Settings(redis=RedisSettings(url=redis.url()))
    told = connect(settings.redis).run(jobs.lane(settings, "model.org--m"))
    assert told.state == "failed"
    assert "options.paze" in (told.failed or "")


def test_a_worker_of_root_says_so_and_starts_if_warnings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        make_app("test", RedisSettings())
        check_privileges(["json"])
    assert "superuser" in str(said[0].message)


@pytest.mark.usefixtures("hangup_heard")
@pytest.mark.parametrize(
    ("app", "lane", "told"),
    [("worker.app", "model.org--m", signal.SIGHUP), ("worker.courier", "intake", signal.SIGINT)],
)
def test_a_log_s_rotation_or_ctrl_c_ends_a_process_in_order_and_is_no_failure(
    redis: RedisServer, tmp_path: Path, app: str, lane: str, told: signal.Signals
) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "org/m"\nengine = "echo"\n', encoding="utf-8")
    blobs = {"SIGHTLINE_BLOBS__URL": str(tmp_path / "blobs")}
    env = os.environ | {"SIGHTLINE_MODELS_FILE": str(file), "SIGHTLINE_REDIS__URL": redis.url()} | blobs
    (tmp_path / "sitecustomize.py").write_text(AUDIT, encoding="utf-8")
    env |= {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    argv = (sys.executable, "-m", "worker", "-A", app, "worker", "--pool=threads", "-c", "3", "-Q", lane)
    process, nudger = Process(argv, env, tmp_path / "log", ROOT), Nudger(RedisSettings(url=redis.url()))
    nudger.send(lane)
    process.start()
    try:
        until(lambda: not nudger.listed(lane))
        os.kill(process.pid, told)
        log = process.log.read_text(encoding="utf-8")
        assert process.wait(110) == 0, log
        assert "beside threads" not in log, "a thread that reads the environment in C would crash"
    finally:
        process.end()
