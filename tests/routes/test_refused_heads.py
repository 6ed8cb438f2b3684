"""What is refused before it is a request says what every answer says, in the shape of where it was sent."""

import json

import pytest

from api.server.reply import GUARDS
from api.server.request_head import HEAD_LIMIT
from tests.routes.test_protocol import GET, asked

OWN = b"GET %s HTTP/1.1\r\nX-Request-Id: mine\r\nX-A: " + b"a" * HEAD_LIMIT + b"\r\n\r\n"


@pytest.mark.parametrize("sent", [OWN % b"/health", GET + b"broken", b"HELO\r\n\r\n"])
async def test_no_proxy_keeps_or_guesses_at_a_refused_head_s_answer_and_its_caller_can_name_it(
    sent: bytes,
) -> None:
    _, headers, _ = await asked(sent + b"\r\n\r\n")
    assert [headers[name.decode()] for name, _ in GUARDS] == [value.decode() for _, value in GUARDS]
    assert (headers["x-request-id"] == "mine") is (b"mine" in sent)


@pytest.mark.parametrize("path", [b"/v1/jobs?limit=1", b"/v1/jobs/j", b"http://a.example/v1/estimate"])
async def test_a_head_refused_at_our_own_doors_is_told_as_all_else_there(path: bytes) -> None:
    status, headers, body = await asked(OWN % path)
    problem = json.loads(body)
    assert (status, headers["content-type"]) == (431, "application/problem+json")
    assert (problem["code"], problem["request_id"]) == ("headers_too_large", "mine")


@pytest.mark.parametrize("path", [b"/v1/models", b"http://a.example/v1/models"])
async def test_openais_clients_read_why_a_head_was_refused(path: bytes) -> None:
    _, headers, body = await asked(OWN % path)
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["code"] == "headers_too_large"
