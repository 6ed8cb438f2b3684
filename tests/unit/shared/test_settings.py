"""A wrong setting stops the start with a sentence that names it, and never repeats a password."""

from pathlib import Path

import pytest

from shared.models import Model
from shared.settings import RedisSettings, Settings, SettingsError, load_settings
from sightline.cli import main
from sightline.exits import Exit
from sightline.serving.folder import DataFolder
from sightline.serving.plan import Plan

SENTINELS = (":hidden@h:1,h:99999/main/0", ":hidden@h:1", ":hid/hidden@h:1/main/0", ":hidden@h:1,:2/main/0")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("REDIS__URL", "hidden", "should be redis://"),
        ("REDIS__URL", "http://127.0.0.1/0", "should be redis://"),
        ("REDIS__URL", "redis://127.0.0.1/zero", "should be redis://"),
        ("REDIS__URL", "redis://127.0.0.1:99999/0", "should be redis://"),
        ("REDIS__URL", "redis:///0", "should be redis://"),
        ("REDIS__BROKER_DB", "0", "the records are in database 0"),
        ("REDIS__BROKER_DB", "-1", "greater than or equal to 0"),
        ("QUEUE__RENEW_S", "4", "at most a third of lease_s, which is 10"),
        ("QUEUE__LEASE_S", "soon", "valid number"),
        ("QUEUE__EXPIRE_S", "inf", "finite number"),
        ("QUEUE__BACKOFF_S", "300", "less than or equal to 60"),
        ("FETCH__ALLOW", "example.com,http://other.example", "'http://other.example' is neither"),
        ("FETCH__ALLOW", "10.0.0.0/33", "'10.0.0.0/33' is neither"),
        ("FETCH__ALLOW", "10.0.0.300", "'10.0.0.300' is neither"),
        ("FETCH__ALLOW", "example.com:8000", "'example.com:8000' is neither"),
        ("API__ADMIN_KEY", "hidden", "at least 32 visible ASCII characters"),
        ("API__ADMIN_KEY", "a key with blanks, which no header can hold", "at least 32 visible"),
        ("API__OPEN", "perhaps", "valid boolean"),
        ("API__CORS_ORIGINS", "app.example.com", "'app.example.com' is not an origin such as https://"),
        ("API__CORS_ORIGINS", "https://app.example.com/", "is not an origin such as https://"),
        ("API__CORS_ORIGINS", "https://me:mine@app.example.com", "is not an origin such as https://"),
        ("API__CORS_ORIGINS", "*", "lets every web page use this service"),
        ("API__TLS_CERT", "no-such-file.pem", "does not point to a file"),
        ("REDIS__TLS_CA", __file__, "SIGHTLINE_REDIS__URL should begin with rediss://"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("TRACES__URL", "http://me:hidden@h/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("TRACES__URL", "http://me:hidden@[h", "should name no user"),
        ("API__CORS_ORIGINS", "https://a.example,https://me:hidden@b.example", "what has an `@` is not an"),
        ("FETCH__ALLOW", "a.example,me:hidden@b.example", "what has an `@` is neither"),
        ("FETCH__DENY", "me:hidden@b.example", "what has an `@` is neither"),
        *(
            ("REDIS__URL", f"redis://{rest}", "should be")
            for rest in (":hidden@h:99999/0", ":hid/hidden@h:1/0")
        ),
        *(("REDIS__URL", f"redis+sentinel://{rest}", "should be") for rest in SENTINELS),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_its_variable_and_repeats_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)

    assert main(["run"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"sightline: SIGHTLINE_{name}: ")
    assert reason in said
    assert said.count("\n") == 1
    assert "hidden" not in said


OTHERS = {"REDIS__URL": "rediss://127.0.0.1/0", "API__ADMIN_KEY": "k" * 32}
PAIR = "a certificate and its private key"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        *((f"API__TLS_{half}", __file__, f"SIGHTLINE_API__TLS_KEY: {PAIR}") for half in ("CERT", "KEY")),
        *((f"REDIS__TLS_{half}", __file__, f"SIGHTLINE_REDIS__TLS_KEY: {PAIR}") for half in ("CERT", "KEY")),
        ("QUEUE__LEASE_S", "2", r"SIGHTLINE_QUEUE__RENEW_S: .*lease_s, which is 2"),
        ("API__OPEN", "true", r"SIGHTLINE_API__OPEN: .*SIGHTLINE_API__ADMIN_KEY is set"),
    ],
)
def test_what_contradicts_another_setting_or_lacks_its_half_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    for other, said in (OTHERS | {name: value}).items():
        monkeypatch.setenv(f"SIGHTLINE_{other}", said)
    with pytest.raises(SettingsError, match=told):
        load_settings()


@pytest.mark.parametrize("piece", [":p@ss#w", ":p@ss/w", ":p@ss?w", "user:123?x=y"])
def test_no_piece_of_a_password_is_taken_for_the_server_s_name(piece: str) -> None:
    with pytest.raises(ValueError, match="in a password write # as %23"):
        RedisSettings.model_validate({"url": f"redis://{piece}@h:7000/0"})
    quoted = "redis://:p%40ss%23%2F%3Fw@h:7000/0"
    assert RedisSettings.model_validate({"url": quoted}).store_url == quoted


def test_a_redis_url_s_options_may_hold_what_a_password_may_not() -> None:
    url = "redis://h:7000/0?client_name=a@b"
    assert RedisSettings.model_validate({"url": url}).store_url == "redis://h:7000/0?client_name=a%40b"


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://:s@h:7000/0", "redis://:s@h:7000/1"),
        ("redis://h", "redis://h/1"),
        ("rediss://u:s@h/4", "rediss://u:s@h/5?ssl_cert_reqs=required"),
        ("rediss://u:s@h/4?ssl_cert_reqs=none", "rediss://u:s@h/5?ssl_cert_reqs=none"),
        ("redis://h/1?db=3", "redis://h/4"),
        ("redis+sentinel://u:s@a:1,b/main/4", "redis+sentinel://u:s@a:1,b/main/5"),
        ("rediss+sentinel://a/main", "rediss+sentinel://a/main/1?ssl_cert_reqs=required"),
    ],
)
def test_the_broker_has_the_database_behind_the_records(url: str, broker: str) -> None:
    assert RedisSettings.model_validate({"url": url}).broker_url == broker


def test_the_broker_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_REDIS__BROKER_DB", "7")
    redis = load_settings().redis
    assert redis.broker_url == "redis://127.0.0.1:6379/7"
    assert "url" not in redis.model_fields_set, "`sightline run` would look for a server nobody has named"


def test_a_level_written_large_and_a_client_s_key_stop_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_LOG_LEVEL", "INFO")
    monkeypatch.setenv("SIGHTLINE_API_KEY", "sl_" + "0" * 40)
    assert (load_settings().log_level, load_settings().api.admin_key) == ("info", None)


def test_hosts_and_networks_may_be_exempted(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = ("Pictures.example", "localhost", "10.0.0.0/8", "192.168.1.7", "fd00::/8", "host_1")
    monkeypatch.setenv("SIGHTLINE_FETCH__ALLOW", ", ".join(entries) + ",")
    assert load_settings().fetch.allow == entries


def test_only_the_api_is_given_the_admin_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGHTLINE_API__ADMIN_KEY", "k" * 32)
    plan = Plan(load_settings(), "redis://127.0.0.1:7000/0", DataFolder(tmp_path), 8000)
    assert plan.api().env["SIGHTLINE_API__ADMIN_KEY"] == "k" * 32
    for command in (plan.api(), plan.worker(Model(id="org/m", engine="echo"), 1, {}), plan.courier()):
        assert "k" * 32 not in " ".join(command.argv)
        assert command.name == "api" or "SIGHTLINE_API__ADMIN_KEY" not in command.env


def test_every_process_logs_at_the_level_that_was_asked_for(tmp_path: Path) -> None:
    plan = Plan(Settings(log_level="debug"), "redis://127.0.0.1:7000/0", DataFolder(tmp_path), 8000)
    api = plan.api().argv
    assert api[api.index("--log-level") + 1] == "debug"
    for command in (plan.worker(Model(id="org/m", engine="echo"), 1, {}), plan.courier()):
        assert "--loglevel=debug" in command.argv
