"""What is served: the rows of this process's models file, and what operators added and removed since.

The file is read at the start and decides about its own rows; the record store says which of them are removed,
and has the rows of models that no file names.
"""

from typing import Any

from shared.errors import CallerError
from shared.models import Model, Models, read_row
from shared.models_file import load_models
from shared.settings import Settings
from shared.store.models import Registrations, registrations
from shared.store.script import connect

NOTHING = Registrations({}, frozenset(), {})


class Registry:
    """Keeps in `models` what is served; `all` also has the removed models."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.all = Models(models.rows)
        self._own = models.rows
        self._found = NOTHING

    def take(self, registrations: Registrations) -> None:
        """Take over what the record store says; reads the folders of new models."""
        if registrations == self._found:
            return
        if registrations.rows != self._found.rows:
            own = {model.lane for model in self._own}
            more = (model for model in added(registrations).rows if model.lane not in own)
            self.all.replace((*self._own, *more))
        removed = tuple(model for model in self.all.rows if model.lane in registrations.removed)
        self.models.replace(tuple(model for model in self.all.rows if model not in removed), removed)
        self._found = registrations

    def removed_rows(self) -> tuple[Model, ...]:
        """Rows of the models file that operators removed: nobody serves them."""
        return tuple(model for model in self._own if model.lane in self._found.removed)

    def has_row(self, model: Model) -> bool:
        """Whether the models file has the model, and thus decides about its row."""
        return any(own.lane == model.lane for own in self._own)

    def agrees(self, model: Model) -> bool:
        """Whether a model may be added: its id is free, or its row is the models file's.

        Machines may name the model's folder differently. The record store compares rows that were added.
        """
        same_lane = next((other for other in self.all.rows if other.lane == model.lane), None)
        if same_lane is None or not self.has_row(model):
            return same_lane is None or same_lane.id == model.id
        return _row(same_lane) == _row(model)


def added(registrations: Registrations) -> Models:
    """The models with rows in the record store, sorted by id; removed ones, too."""
    rows = (read_row(row) for row in registrations.rows.values())
    return Models(tuple(sorted((model for model in rows if model), key=lambda model: model.id)))


def model_of_worker(settings: Settings) -> tuple[Model, str | None]:
    """The model that a worker's settings name, of its node or the models file; or an added one, with its row.

    Raises SettingsError, CallerError `model_not_found`, and Unavailable where the file lacks the model and
    the record store is out of reach.
    """
    if row := settings.worker.row:
        return Model.model_validate_json(row), None
    models = load_models(settings.models_file)
    try:
        return models.worker_model(settings.worker.model), None
    except CallerError:
        store = connect(settings.redis)
        try:
            rows = store.run(registrations())
            model = added(rows).worker_model(settings.worker.model)
            return model, rows.rows[model.lane]
        finally:
            store.client.close()


def _row(model: Model) -> dict[str, Any]:
    return model.model_dump(exclude={"source"})
