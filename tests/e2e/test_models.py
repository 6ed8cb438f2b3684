"""A model comes and goes in a fleet that runs; of a laptop: tests/installation/test_models.py."""

from shared.models import Model
from tests.support.clients import Api, until
from tests.support.service import Service
from worker.celery_app import Exit

NEW = Model(id="org/new", engine="echo")


def test_in_a_fleet_a_worker_of_an_added_model_serves_at_once(service: Service, api: Api) -> None:
    """No models file names it: neither the APIs' nor the worker's."""
    row = NEW.model_dump(mode="json", exclude_defaults=True)
    worker = service.worker(NEW)
    with Api(service.url("api-2")) as other:
        assert api.post("/v1/admin/models", json=row).status_code == 201
        job = api.submit(model=NEW.id, input={"prompt": "hello"})
        worker.start()
        try:
            assert api.ended(job)["result"]["text"] == "hello"
            until(lambda: other.get(f"/status/{NEW.id}").status_code == 200)
            asked = other.submit(model=NEW.id, input={"prompt": "from the other one"})
            assert other.ended(asked)["result"]["text"] == "from the other one"
            assert api.delete(f"/v1/admin/models/{NEW.id}").status_code == 204
            assert api.post(f"/models/{NEW.id}", json={"inputs": "again"}).status_code == 404
            # Added with another row it is another model, which the worker of this one does not hold.
            assert api.post("/v1/admin/models", json=row | {"rows": 2}).status_code == 201
            assert worker.wait() == Exit.OUTDATED
            again = api.submit(model=NEW.id, input={"prompt": "hello again"})
            worker.start()
            assert api.ended(again)["result"]["text"] == "hello again"
        finally:
            worker.end()
            api.delete(f"/v1/admin/models/{NEW.id}")
