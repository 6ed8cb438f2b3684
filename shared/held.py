"""What is held of a job until its inputs are here: who fetches them needs no models file, new or old."""

from shared import ids
from shared.hashing import request_hash
from shared.job import Priority
from shared.request import Frozen, Request
from shared.reuse import reuse_key
from shared.store.admission import Placing


class HeldTerms(Frozen):
    """Where its run will stand, and what its hash and its place in line follow from besides the request."""

    lane: str
    revision: str
    priority: Priority
    cost: int
    rows: int = 1
    reuse: bool

    def placing(
        self, job: str, caller: str, request: Request, *, shared: bool, pending: bool = False
    ) -> Placing:
        """How the store is told of a job, by the door and by whoever fetched its inputs alike.

        `shared` as in `reuse_scope`. What is `pending` has no hash yet. Raises as `request_hash` where not.
        """
        hashed = "" if pending else request_hash(request, self.revision)
        return Placing(
            job=job,
            run=ids.run_id(),
            caller=caller,
            model=request.model,
            lane=self.lane,
            priority=self.priority,
            hash=hashed,
            key=reuse_key(caller, hashed, shared=shared) if self.reuse and not pending else None,
            blobs=request.digests,
            cost=self.cost,
            rows=self.rows,
            request=request.model_dump_json(exclude_none=True),
        )
