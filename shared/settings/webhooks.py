"""The settings of webhooks; `shared.settings` puts them among the others."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from shared.settings.group import Group, Listed
from shared.webhooks import key_of

Pause = Annotated[float, Field(ge=0)]


class WebhookSettings(Group):
    """Calling callers back; done by the courier only, with the address guard of fetching."""

    secret: SecretStr | None = Field(
        None,
        description="Signs the calls of webhooks that name no secret of their own: `whsec_` and base64, or "
        "at least 16 bytes of text, which receivers give their libraries in base64. Without it such webhooks "
        "are refused; with API keys on it signs for the admin key's caller only, and others' are refused.",
    )
    limit_s: float = Field(
        20,
        gt=0,
        description="Seconds for DNS, connection, request and answer of one call of a webhook together; "
        "one wait counts as half of them at most.",
    )
    delays_s: Listed[tuple[Pause, ...]] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Pauses after each call of a webhook that failed, comma separated; up to a tenth is "
        "added by chance. When they are used up, the call is given up.",
    )

    @field_validator("secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_of(value.get_secret_value())
        return value
