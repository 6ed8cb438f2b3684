"""What stands between a command and the service: proxies of the environment, addresses that are none."""

from http.server import HTTPServer
from threading import Thread

import pytest

from sightline.exits import CommandError, Exit
from sightline.service_client import client_of, segment, speaking
from tests.support.healthy_server import Healthy

NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxy", [NOWHERE, "socks5://127.0.0.1:1"])
def test_a_company_s_proxy_does_not_hide_a_service_of_this_machine(
    proxy: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever).start()
        try:
            with client_of(f"http://{host}:{server.server_port}") as client, speaking(client):
                assert client.get("/health").is_success
        finally:
            server.shutdown()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://127.0.0.1:1", "http://a:b"])
def test_a_proxy_that_cannot_be_used_is_one_sentence_that_names_its_variable(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(CommandError, match=r"proxy.*unset.*ALL_PROXY") as caught:
        client_of("http://sightline.example")
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("url", ["nonsense", "localhost:8000", "ftp://127.0.0.1", "http://", "http://a:b"])
def test_an_address_that_is_none_is_not_taken_for_a_service_that_does_not_run(url: str) -> None:
    with pytest.raises(CommandError, match="is not a URL") as caught:
        client_of(url)
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("name", ["", ".", "..", "org/../m", "/m"])
def test_a_script_s_empty_variable_asks_nothing_of_the_whole_list_or_another_path(name: str) -> None:
    with pytest.raises(CommandError, match=f"'{name}' is no id") as caught:
        segment(name, safe="/")
    assert caught.value.code is Exit.USAGE
