"""`sightline keys`: creates, lists, rotates and revokes API keys, over the admin routes."""

import argparse
import time
from typing import Any

import httpx

from shared.api_keys import SCOPES
from sightline.commands import add_actions, set_action
from sightline.exits import Exit
from sightline.serving.service import fetched, segment
from sightline.terminal import columns, moment, plain, show_json, show_secret

PATH = "/v1/admin/keys"
DAY_S = 86_400
COLUMNS = ("ID", "NAME", "CALLER", "SCOPES", "PER MINUTE", "QUEUED", "KEPT", "STATE")
EXAMPLES = """\
examples:
  sightline keys create --name "Example Ltd"
  sightline keys create --name "Example Ltd, nightly" --caller example-ltd --per-minute 600 --days 90
  sightline keys list
  sightline keys rotate key_0c1d2e3f40516273 --grace 3600
  sightline keys revoke key_0c1d2e3f40516273

Send the admin key, or one with the scope admin, as SIGHTLINE_API_KEY. A secret is printed once, alone on
standard output; the service keeps only its digest. See docs/keys.md.
"""


def add_keys(command: argparse.ArgumentParser) -> None:
    actions = add_actions(command, "Creates, lists, rotates and revokes API keys.", EXAMPLES)
    _add_create(actions.add_parser("create", help="create a key; prints its secret once"))
    listing = actions.add_parser("list", help="list the keys, newest first", description="Lists the keys.")
    set_action(listing, _list)
    rotate = actions.add_parser("rotate", help="replace a key's secret; prints it once")
    rotate.description = "Replaces a key's secret; the old one stays valid for a while."
    _add_key(rotate)
    rotate.add_argument(
        "--grace",
        type=int,
        metavar="SECONDS",
        help="how long old secrets stay valid (default: a day; 0 = not at all)",
    )
    set_action(rotate, _rotate)
    revoke = actions.add_parser(
        "revoke", help="revoke a key permanently", description="Revokes a key permanently."
    )
    _add_key(revoke)
    set_action(revoke, _revoke)


def _add_create(action: argparse.ArgumentParser) -> None:
    action.description = "Creates a key. Jobs, answers and quotas belong to its caller."
    action.add_argument("--name", required=True, help="description")
    action.add_argument("--caller", help="caller id; keys with the same id share jobs (default: a new one)")
    action.add_argument("--scopes", help=f"{', '.join(SCOPES)}, separated by commas (default: submit,read)")
    action.add_argument("--days", type=int, metavar="N", help="days until it expires (default: never)")
    action.add_argument("--per-minute", type=int, metavar="N", help="requests a minute (default: unlimited)")
    action.add_argument(
        "--max-queued", type=int, metavar="N", help="queued jobs for one model (default: the setting)"
    )
    action.add_argument(
        "--retain",
        type=int,
        metavar="SECONDS",
        help="how long its jobs and answers are stored after their end (default: the settings)",
    )
    set_action(action, _create)


def _add_key(action: argparse.ArgumentParser) -> None:
    action.add_argument("key", metavar="KEY", help="the key's id, key_…")


def _create(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    body = {
        "name": arguments.name,
        "caller": arguments.caller,
        "scopes": arguments.scopes and arguments.scopes.split(","),
        "expires_at": None if arguments.days is None else time.time() + arguments.days * DAY_S,
        "requests_per_minute": arguments.per_minute,
        "max_queued": arguments.max_queued,
        "retain_s": arguments.retain,
    }
    return _shown_once(fetched(client, "POST", PATH, body=body), arguments)


def _rotate(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    path = f"{PATH}/{segment(arguments.key)}/rotate"
    return _shown_once(fetched(client, "POST", path, body={"grace_s": arguments.grace}), arguments)


def _shown_once(key: dict[str, Any], arguments: argparse.Namespace) -> Exit:
    show_secret(key, f"caller {key['caller']}", as_json=arguments.json)
    return Exit.OK


def _list(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    page = fetched(client, "GET", PATH)
    if arguments.json:
        show_json(page)
    else:
        now = time.time()
        print("\n".join(columns([COLUMNS, *(_row(key, now) for key in page["data"])])))
    return Exit.OK


def _row(key: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        key["id"],
        plain(key["name"]),
        key["caller"],
        ",".join(key["scopes"]),
        str(key["requests_per_minute"] or "-"),
        str(key["max_queued"] or "-"),
        f"{key['retain_s']} s" if key["retain_s"] else "-",
        _state(key, now),
    )


def _state(key: dict[str, Any], now: float) -> str:
    if key["revoked_at"]:
        return f"revoked {moment(key['revoked_at'])}"
    if not key["expires_at"]:
        return "in force"
    return f"{'expired' if key['expires_at'] <= now else 'until'} {moment(key['expires_at'])}"


def _revoke(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    key = fetched(client, "DELETE", f"{PATH}/{segment(arguments.key)}")
    if arguments.json:
        show_json(key)
    else:
        print(f"{key['id']} is revoked; API processes that know it forget it within a second")
    return Exit.OK
