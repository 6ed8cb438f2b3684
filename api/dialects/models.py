"""/v1/admin/models: a model to be served, in the fields of a row of models.toml."""

from typing import Any

from api.dialects.refusals import unsupported
from api.dialects.strict_json import Wire, read
from shared.models import Model


class ModelBody(Wire, Model):
    """A row. What runs programs of its own stands in the models file of the machine that runs them."""


def from_row(body: Any) -> Model:
    """Raises CallerError naming the field."""
    said = read(ModelBody, body)
    if said.trust_remote_code:
        raise unsupported("trust_remote_code")
    return Model.model_validate(said.model_dump(exclude_unset=True))
