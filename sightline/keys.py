"""`sightline keys`: manages API keys and their default webhooks, over the admin routes."""

import time
from typing import Annotated, Any

from typer import Argument, Option

from shared.api_keys import SCOPES
from sightline.commands import Json, Url, commands
from sightline.service_client import called, segment
from sightline.terminal import moment, show, show_secret, show_table

PATH = "/v1/admin/keys"
DAY_S = 86_400
COLUMNS = ("ID", "NAME", "CALLER", "SCOPES", "PER MINUTE", "QUEUED", "KEPT", "WEBHOOK", "STATE")
EXAMPLES = """\
examples:
  sightline keys create --name "Example Ltd"
  sightline keys create --name "Example Ltd, nightly" --caller example-ltd --per-minute 600 --days 90
  sightline keys list
  sightline keys rotate key_0c1d2e3f40516273 --grace 3600
  sightline keys revoke key_0c1d2e3f40516273
  sightline keys webhook key_0c1d2e3f40516273 https://shop.example/hook --events job.failed,batch.failed
  sightline keys rotate-webhook key_0c1d2e3f40516273
  sightline keys delete-webhook key_0c1d2e3f40516273

Send the admin key, or one with the scope admin, as SIGHTLINE_API_KEY. A secret is printed once, alone on
standard output. See docs/keys.md and docs/webhooks.md.
"""
GRACE = "seconds that old secrets stay valid (default: a day; 0: not at all)"
SOME = f"{', '.join(SCOPES)}, separated by commas (default: submit,read)"
SHARED = "caller id; keys with the same id share jobs (default: a new one)"
RETAINED = "seconds that its jobs and answers are stored after their end (default: the settings)"
EVENTS = "job.failed, batch.completed ..., separated by commas (default: each end)"
Key = Annotated[str, Argument(help="the key's id, key_...")]
app = commands("Create, list, rotate and revoke API keys, and set their webhooks.", EXAMPLES)


@app.command("create")
def _create(
    name: Annotated[str, Option(help="description")],
    caller: Annotated[str | None, Option(help=SHARED)] = None,
    scopes: Annotated[str | None, Option(help=SOME)] = None,
    days: Annotated[int | None, Option(help="days until it expires (default: never)")] = None,
    per_minute: Annotated[
        int | None, Option(help="requests a minute, besides reads (default: unlimited)")
    ] = None,
    max_queued: Annotated[int | None, Option(help="queued jobs for one model (default: the setting)")] = None,
    retain: Annotated[int | None, Option(help=RETAINED)] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Create a key and print its secret once; jobs, answers and quotas belong to its caller."""
    body = {
        "name": name,
        "caller": caller,
        "scopes": scopes and scopes.split(","),
        "expires_at": None if days is None else time.time() + days * DAY_S,
        "requests_per_minute": per_minute,
        "max_queued": max_queued,
        "retain_s": retain,
    }
    key = called(url, "POST", PATH, body=body)
    show_secret(key, f"caller {key['caller']}", as_json=as_json)


@app.command("list")
def _list(url: Url = None, as_json: Json = False) -> None:
    """List the keys, newest first."""
    show(called(url, "GET", PATH), as_json, lambda page: show_table(COLUMNS, map(_row, page["data"])))


@app.command("rotate")
def _rotate(
    key: Key, grace: Annotated[int | None, Option(help=GRACE)] = None, url: Url = None, as_json: Json = False
) -> None:
    """Replace a key's secret and print it once; the old one stays valid for a while."""
    made = called(url, "POST", f"{PATH}/{segment(key)}/rotate", body={"grace_s": grace})
    show_secret(made, f"caller {made['caller']}", as_json=as_json)


@app.command("revoke")
def _revoke(key: Key, url: Url = None, as_json: Json = False) -> None:
    """Revoke a key permanently."""
    revoked = called(url, "DELETE", f"{PATH}/{segment(key)}")
    sentence = f"{revoked['id']} is revoked; API processes that know it forget it within a second"
    show(revoked, as_json, lambda _: print(sentence))


@app.command("webhook")
def _webhook(
    key: Key,
    to: Annotated[str, Argument(help="the URL to call")],
    events: Annotated[str | None, Option(help=EVENTS)] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Set the webhook of the key's jobs and batches that name none; print its secret if it is new."""
    body = {"url": to, "events": events and events.split(",")}
    changed = called(url, "PUT", _hook_path(key), body=body)
    if changed["webhook_secret"]:
        _show_hook_secret(changed, as_json=as_json)
    else:
        sentence = f"the webhook of {changed['id']} is {to}; its secret stays"
        show(changed, as_json, lambda _: print(sentence))


@app.command("rotate-webhook")
def _rotate_webhook(
    key: Key, grace: Annotated[int | None, Option(help=GRACE)] = None, url: Url = None, as_json: Json = False
) -> None:
    """Replace the secret of the key's webhooks and print it once; the old one signs too for a while."""
    changed = called(url, "POST", f"{_hook_path(key)}/rotate", body={"grace_s": grace})
    _show_hook_secret(changed, as_json=as_json)


@app.command("delete-webhook")
def _delete_webhook(key: Key, url: Url = None, as_json: Json = False) -> None:
    """Delete the key's webhook, with its secret and waiting deliveries."""
    changed = called(url, "DELETE", _hook_path(key))
    show(changed, as_json, lambda _: print(f"{changed['id']} has no webhook"))


def _hook_path(key: str) -> str:
    return f"{PATH}/{segment(key)}/webhook"


def _show_hook_secret(key: dict[str, Any], *, as_json: bool) -> None:
    show_secret(key | {"secret": key["webhook_secret"]}, "webhooks", as_json=as_json)


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    return (
        key["id"],
        key["name"],
        key["caller"],
        ",".join(key["scopes"]),
        str(key["requests_per_minute"] or "-"),
        str(key["max_queued"] or "-"),
        f"{key['retain_s']} s" if key["retain_s"] else "-",
        key["webhook"]["url"] if key["webhook"] else "-",
        _state(key),
    )


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {moment(key['revoked_at'])}"
    if not key["expires_at"]:
        return "in force"
    return f"{'expired' if key['expires_at'] <= time.time() else 'until'} {moment(key['expires_at'])}"
