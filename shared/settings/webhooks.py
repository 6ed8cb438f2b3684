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
        description="Signs the deliveries of webhooks without a secret of their own: `whsec_` and base64, or "
        "at least 16 bytes of text. Without it such webhooks "
        "are refused; with API keys on it signs for the admin key's caller only.",
    )
    limit_s: float = Field(
        20,
        gt=0,
        description="Seconds for one delivery, from DNS to the answer.",
    )
    delays_s: Listed[tuple[Pause, ...]] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Pauses after each failed delivery, comma separated; up to a tenth is "
        "added at random. Then the delivery is abandoned.",
    )

    @field_validator("secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_of(value.get_secret_value())
        return value
