"""What is served: the rows of this process's models file, and what operators added and removed since.

The file is read at the start and says what its own rows are; the record store says which of them are removed,
and has the rows of those that no file names.
"""

from typing import Any

from shared.errors import CallerError
from shared.models import Model, Models, read_row
from shared.models_file import load_models
from shared.settings import Settings
from shared.store.models import Registered, registered
from shared.store.script import connect

NOTHING = Registered({}, frozenset(), {})


class Registry:
    """Keeps `models` as what is served; `all` are those besides that are removed."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.all = Models(models.rows)
        self._own = models.rows
        self._found = NOTHING

    def take(self, found: Registered) -> None:
        """What the record store says. Reads the folders of models that are new."""
        if found == self._found:
            return
        if found.rows != self._found.rows:
            own = {model.lane for model in self._own}
            more = (model for model in added(found).rows if model.lane not in own)
            self.all.replace((*self._own, *more))
        removed = tuple(model for model in self.all.rows if model.lane in found.removed)
        self.models.replace(tuple(model for model in self.all.rows if model not in removed), removed)
        self._found = found

    def removed_rows(self) -> tuple[Model, ...]:
        """Rows of the models file that operators removed: nobody serves them."""
        return tuple(model for model in self._own if model.lane in self._found.removed)

    def has_row(self, model: Model) -> bool:
        """Whether the models file has it, so that nobody else says what it is."""
        return any(own.lane == model.lane for own in self._own)

    def agrees(self, model: Model) -> bool:
        """Whether it may be served beside what is known: under an id that is free, or as the file says it.

        Where a folder lies each machine says in its own way. An added row is compared by the record store.
        """
        known = next((other for other in self.all.rows if other.lane == model.lane), None)
        if known is None or not self.has_row(model):
            return known is None or known.id == model.id
        return _said(known) == _said(model)


def added(found: Registered) -> Models:
    """Those with rows in the record store, by their ids; removed ones, too."""
    rows = (read_row(row) for row in found.rows.values())
    return Models(tuple(sorted((model for model in rows if model), key=lambda model: model.id)))


def chosen(settings: Settings) -> tuple[Model, str | None]:
    """The model that a worker's settings name, of the models file; or added, and the row it was added with.

    Raises SettingsError, CallerError `model_not_found`, Unavailable where the file does not have it and the
    record store is out of reach.
    """
    models = load_models(settings.models_file)
    try:
        return models.chosen(settings.worker.model), None
    except CallerError:
        store = connect(settings.redis)
        try:
            found = store.run(registered())
            model = added(found).chosen(settings.worker.model)
            return model, found.rows[model.lane]
        finally:
            store.client.close()


def _said(model: Model) -> dict[str, Any]:
    return model.model_dump(exclude={"source"})
