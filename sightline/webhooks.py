"""`sightline webhooks`: manages the endpoints that are sent events, over HTTP."""

from typing import Annotated, Any

from typer import Argument, Option

from sightline.commands import Json, Url, commands
from sightline.service_client import called, segment
from sightline.terminal import moment, plain, show, show_secret, show_table

PATH = "/v1/webhooks"
COLUMNS = ("ID", "URL", "EVENTS", "STATE", "DESCRIPTION")
CALLS = ("AT", "EVENT", "ID", "MS", "RESULT")
EXAMPLES = """\
examples:
  sightline webhooks create https://shop.example/hook --events 'job.*' --description "The shop"
  sightline webhooks list
  sightline webhooks rotate wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312 --grace 3600
  sightline webhooks delete wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312
  sightline webhooks test wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312
  sightline webhooks deliveries wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312
  sightline webhooks replay wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312 msg_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2_ended

A secret is printed once, alone on standard output. See docs/webhooks.md.
"""
Webhook = Annotated[str, Argument(help="the webhook's id, wh_...")]
app = commands("Create, list, test and delete webhooks, and show their deliveries.", EXAMPLES)


@app.command("list")
def _list(url: Url = None, as_json: Json = False) -> None:
    """List the webhooks, newest first."""
    show(called(url, "GET", PATH), as_json, lambda page: show_table(COLUMNS, map(_row, page["data"])))


@app.command("create")
def _create(
    to: Annotated[str, Argument(help="the URL to call")],
    events: Annotated[
        str | None, Option(help="job.*, job.succeeded, batch.* ..., separated by commas")
    ] = None,
    description: Annotated[str | None, Option(help="description")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Register a webhook and print its secret once."""
    body = {"url": to, "events": events and events.split(","), "description": description}
    hook = called(url, "POST", PATH, body=body)
    show_secret(hook, hook["url"], as_json=as_json)


@app.command("rotate")
def _rotate(
    webhook: Webhook,
    grace: Annotated[int | None, Option(help="seconds that the old one signs too (default: a day)")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Replace a webhook's secret and print it once."""
    hook = called(url, "POST", _path(webhook, "rotate"), body={"grace_s": grace})
    show_secret(hook, hook["url"], as_json=as_json)


@app.command("test")
def _test(webhook: Webhook, url: Url = None, as_json: Json = False) -> None:
    """Send a test event now."""
    _send(_path(webhook, "test"), url, as_json)


@app.command("deliveries")
def _deliveries(webhook: Webhook, url: Url = None, as_json: Json = False) -> None:
    """List the last deliveries, newest first."""
    page = called(url, "GET", _path(webhook, "deliveries"))
    show(page, as_json, lambda _: show_table(CALLS, map(_call, page["data"])))


@app.command("replay")
def _replay(
    webhook: Webhook,
    event: Annotated[str, Argument(help="the event's id, msg_...")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send an event, again or for the first time."""
    _send(_path(webhook, "deliveries", segment(event), "replay"), url, as_json)


@app.command("delete")
def _delete(webhook: Webhook, url: Url = None, as_json: Json = False) -> None:
    """Delete a webhook."""
    called(url, "DELETE", _path(webhook))
    show({"id": webhook, "deleted": True}, as_json, lambda _: print(f"{plain(webhook)} is deleted"))


def _path(webhook: str, *more: str) -> str:
    return "/".join([PATH, segment(webhook), *more])


def _send(path: str, url: str | None, as_json: bool) -> None:
    event = called(url, "POST", path)
    sentence = f"{event['id']} ({event['type']}) is sent; `deliveries` says how it went"
    show(event, as_json, lambda _: print(sentence))


def _row(hook: dict[str, Any]) -> tuple[str, ...]:
    state = "on"
    if not hook["enabled"]:
        state = f"off since {moment(hook['disabled_at'])} ({hook['disabled_reason']})"
    return hook["id"], hook["url"], ",".join(hook["events"]), state, hook["description"]


def _call(tried: dict[str, Any]) -> tuple[str, ...]:
    result = tried["error"] or f"taken, {tried['status']}"
    return moment(tried["at"]), tried["event"], tried["event_id"], str(tried["ms"]), result
