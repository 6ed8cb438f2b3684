"""No secret of the settings shows where people print, log or dump what holds it."""

from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.errors import Unavailable
from shared.settings import Settings, fields
from shared.store.nudges import Nudger
from shared.store.script import Store, connect
from shared.store.server import probe
from shared.store.wakeups import WorkerWakeup
from tests.support.ports import free_port
from worker.celery_app import make_app

PASSWORD, ADMIN_KEY = "hidden-password", "hidden-admin-key-0123456789-abcdef"
WEBHOOK_SECRET = "hidden-webhook-secret"
TLS_KEYS = {"SIGHTLINE_API__TLS_KEY", "SIGHTLINE_REDIS__TLS_KEY"}
"""Files, whose names say nothing."""


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "redis": {"url": f"redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0"},
            "api": {"admin_key": ADMIN_KEY},
            "webhook": {"secret": WEBHOOK_SECRET},
        }
    )


WAYS: dict[str, Callable[[Settings], object]] = {
    "the settings": repr,
    "the settings as text": str,
    "their dump": lambda s: s.model_dump(),
    "their JSON": lambda s: s.model_dump_json(),
    "the record store's client": lambda s: connect(s.redis).client,
    "the nudges' client": lambda s: Nudger(s.redis)._client,
    "a worker's ear": lambda s: WorkerWakeup(s.redis, "worker_1")._pubsub.connection_pool,
    "Celery's application": lambda s: make_app("x", s.redis),
    "Celery's settings, as its own commands show them": lambda s: make_app("x", s.redis).conf.humanize(),
    "Celery's connection": lambda s: make_app("x", s.redis).connection_for_read(),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_printed_holds_no_secret(settings: Settings, name: str) -> None:
    shown = repr(WAYS[name](settings))
    assert [secret for secret in (PASSWORD, ADMIN_KEY, WEBHOOK_SECRET) if secret in shown] == []


def test_an_error_of_a_store_out_of_reach_holds_no_password(settings: Settings) -> None:
    store: Store = connect(settings.redis)
    with pytest.raises(RedisConnectionError) as raw:
        store.client.ping()
    with pytest.raises(Unavailable) as ours:
        probe(settings.redis.store_url)
    assert PASSWORD not in f"{raw.value!r} {ours.value!r} {ours.value.message}"


def test_every_setting_that_is_a_secret_is_known_as_one() -> None:
    """A name like one of these holds something to hide."""
    telling = ("KEY", "SECRET", "PASSWORD", "TOKEN", "REDIS__URL")
    named = {name: str(field.annotation) for name, field in fields() if name.endswith(telling)}
    assert {name for name, kind in named.items() if "Secret" not in kind} == TLS_KEYS
