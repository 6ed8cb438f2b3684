"""/v1/admin/keys: callers' API keys. Times are Unix seconds; a secret is shown once, when it is made."""

from typing import Any

from pydantic import Field

from api.dialects.fields import Moment, seconds, to_ms
from api.dialects.strict_json import Wire, invalid, read, unsupported
from shared.api_keys import CALLER, SCOPES, AdminAction, ApiKey, Scope
from shared.models import Model

MOST = 1_000_000
LONGEST_GRACE_S = 30 * 86_400
LONGEST_RETENTION_S = 366 * 86_400
GRACE_S = 86_400
"""How long the old secret stays valid where a rotation does not say."""


class KeyBody(Wire):
    """A key to be made. Without a `caller` its jobs are nobody else's."""

    name: str = Field(min_length=1, max_length=64)
    caller: str | None = None
    scopes: list[Scope] | None = Field(None, min_length=1)
    expires_at: Moment | None = None
    requests_per_minute: int | None = Field(None, ge=1, le=MOST)
    max_queued: int | None = Field(None, ge=1, le=MOST)
    retain_s: int | None = Field(None, ge=60, le=LONGEST_RETENTION_S)


class RotationBody(Wire):
    grace_s: int | None = Field(None, ge=0, le=LONGEST_GRACE_S)


def from_key(body: Any, id: str, now_ms: int) -> ApiKey:
    """The key to be made under this id. Raises CallerError naming the field."""
    said = read(KeyBody, body)
    if not said.name.isprintable():
        raise invalid("name", "should be one line of text")
    caller = id if said.caller is None else said.caller
    if not CALLER.fullmatch(caller):
        raise invalid("caller", "takes 1 to 64 lower-case letters, digits, `.`, `_` and `-`")
    expires_ms = to_ms("expires_at", said.expires_at)
    if expires_ms is not None and expires_ms <= now_ms:
        raise invalid("expires_at", "has passed already")
    return ApiKey(
        id=id,
        name=said.name,
        caller=caller,
        scopes=tuple(scope for scope in SCOPES if scope in (said.scopes or ("submit", "read"))),
        created_ms=now_ms,
        expires_ms=expires_ms,
        requests_per_minute=said.requests_per_minute,
        max_queued=said.max_queued,
        retain_s=said.retain_s,
    )


def from_rotation(body: Any) -> int:
    """The grace time in seconds. Raises CallerError naming the field."""
    said = read(RotationBody, body)
    return GRACE_S if said.grace_s is None else said.grace_s


def to_key(key: ApiKey, secret: str | None = None) -> dict[str, Any]:
    """The key object; fields that do not apply are null, but the secret is left out."""
    shown = {
        "id": key.id,
        "object": "api_key",
        "name": key.name,
        "caller": key.caller,
        "scopes": list(key.scopes),
        "created_at": key.created_ms / 1000,
        "expires_at": seconds(key.expires_ms),
        "revoked_at": seconds(key.revoked_ms),
        "former_until": seconds(key.former_until_ms),
        "requests_per_minute": key.requests_per_minute,
        "max_queued": key.max_queued,
        "retain_s": key.retain_s,
    }
    return shown if secret is None else shown | {"secret": secret}


# /v1/admin/audit: what operators did. Times are Unix seconds.


def to_admin_action(act: AdminAction) -> dict[str, Any]:
    return {
        "id": act.id,
        "object": "admin_action",
        "at": act.at_ms / 1000,
        "action": act.action,
        "subject": act.subject,
        "outcome": act.outcome,
        "key": {"id": act.operator.key, "name": act.operator.name},
        "address": act.operator.address,
        "request_id": act.operator.request,
    }


# /v1/admin/models: a model to be served, in the fields of a row of models.toml.


class ModelBody(Wire, Model):
    """A row. What runs programs of its own stands in the models file of the machine that runs them."""


def from_row(body: Any) -> Model:
    """Raises CallerError naming the field."""
    said = read(ModelBody, body)
    if said.trust_remote_code:
        raise unsupported("trust_remote_code")
    return Model.model_validate(said.model_dump(exclude_unset=True))
