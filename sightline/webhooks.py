"""`sightline webhooks`: manages the endpoints that are sent events, over HTTP."""

import argparse
from typing import Any

import httpx

from sightline.commands import add_actions, set_action
from sightline.exits import Exit
from sightline.serving.service import fetched, segment
from sightline.terminal import columns, moment, plain, show_json, show_secret

PATH = "/v1/webhooks"
COLUMNS = ("ID", "URL", "EVENTS", "STATE", "DESCRIPTION")
CALLS = ("AT", "EVENT", "ID", "MS", "RESULT")
EXAMPLES = """\
examples:
  sightline webhooks create https://shop.example/hook --events 'job.*' --description "The shop"
  sightline webhooks test wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312
  sightline webhooks deliveries wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312
  sightline webhooks replay wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312 msg_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2_ended

A secret is printed once, alone on standard output. See docs/webhooks.md.
"""


def add_webhooks(command: argparse.ArgumentParser) -> None:
    actions = add_actions(
        command, "Creates, lists, tests and deletes webhooks, and shows their deliveries.", EXAMPLES
    )
    listing = actions.add_parser("list", help="list the webhooks, newest first")
    set_action(listing, _list)
    create = actions.add_parser("create", help="register a webhook; prints its secret once")
    create.add_argument("to", metavar="URL", help="the URL to call")
    create.add_argument("--events", help="job.*, job.succeeded, batch.* …, separated by commas")
    create.add_argument("--description", help="description")
    set_action(create, _create)
    rotate = _named(actions, "rotate", "replace a webhook's secret; prints it once")
    rotate.add_argument(
        "--grace", type=int, metavar="SECONDS", help="how long the old one signs as well (default: a day)"
    )
    set_action(rotate, _rotate)
    set_action(_named(actions, "test", "send a test event now"), _test)
    set_action(_named(actions, "deliveries", "list the last deliveries, newest first"), _deliveries)
    replay = _named(actions, "replay", "send an event, again or for the first time")
    replay.add_argument("event", metavar="EVENT", help="the event's id, msg_…")
    set_action(replay, _replay)
    set_action(_named(actions, "delete", "delete a webhook"), _delete)


def _named(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    action.add_argument("webhook", metavar="WEBHOOK", help="the webhook's id, wh_…")
    return action


def _path(arguments: argparse.Namespace, *more: str) -> str:
    return "/".join([PATH, segment(arguments.webhook), *more])


def _list(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    page = fetched(client, "GET", PATH)
    if arguments.json:
        show_json(page)
    else:
        print("\n".join(columns([COLUMNS, *map(_row, page["data"])])))
    return Exit.OK


def _row(hook: dict[str, Any]) -> tuple[str, ...]:
    state = (
        "on" if hook["enabled"] else f"off since {moment(hook['disabled_at'])} ({hook['disabled_reason']})"
    )
    return hook["id"], plain(hook["url"]), ",".join(hook["events"]), state, plain(hook["description"])


def _create(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    body = {
        "url": arguments.to,
        "events": arguments.events and arguments.events.split(","),
        "description": arguments.description,
    }
    return _shown_once(fetched(client, "POST", PATH, body=body), arguments)


def _rotate(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    body = {"grace_s": arguments.grace}
    return _shown_once(fetched(client, "POST", _path(arguments, "rotate"), body=body), arguments)


def _shown_once(hook: dict[str, Any], arguments: argparse.Namespace) -> Exit:
    show_secret(hook, hook["url"], as_json=arguments.json)
    return Exit.OK


def _test(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _sent(fetched(client, "POST", _path(arguments, "test")), arguments)


def _replay(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    path = _path(arguments, "deliveries", segment(arguments.event), "replay")
    return _sent(fetched(client, "POST", path), arguments)


def _sent(event: dict[str, Any], arguments: argparse.Namespace) -> Exit:
    if arguments.json:
        show_json(event)
    else:
        print(f"{event['id']} ({event['type']}) is sent; `deliveries` says how it went")
    return Exit.OK


def _deliveries(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    page = fetched(client, "GET", _path(arguments, "deliveries"))
    if arguments.json:
        show_json(page)
    else:
        print("\n".join(columns([CALLS, *map(_call, page["data"])])))
    return Exit.OK


def _call(tried: dict[str, Any]) -> tuple[str, ...]:
    result = plain(tried["error"] or f"taken, {tried['status']}")
    return moment(tried["at"]), tried["event"], tried["event_id"], str(tried["ms"]), result


def _delete(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    fetched(client, "DELETE", _path(arguments))
    print(f"{arguments.webhook} is deleted")
    return Exit.OK
