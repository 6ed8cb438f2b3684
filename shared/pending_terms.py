"""What is kept of a job until its inputs are fetched, so that the courier needs no models file."""

from shared.cache_key import request_hash, reuse_key
from shared.job import Priority
from shared.request import Frozen, Request
from shared.store.admission import ROOM, Placing


class PendingTerms(Frozen):
    """Where the job's run will stand, and what besides the request decides its hash and its place in line."""

    lane: str
    revision: str
    priority: Priority
    cost: int
    rows: int = 1
    room: int = ROOM
    max_pictures: int | None = None
    reuse: bool

    def placing(
        self, job: str, caller: str, request: Request, *, shared: bool, pending: bool = False
    ) -> Placing:
        """The placing that the store is given, both by the door and by the courier that fetched the inputs.

        `shared` as in `reuse_scope`. A `pending` job has no hash yet; for others raises as `request_hash`.
        """
        hashed = "" if pending else request_hash(request, self.revision)
        return Placing(
            job=job,
            caller=caller,
            model=request.model,
            lane=self.lane,
            priority=self.priority,
            hash=hashed,
            key=reuse_key(caller, hashed, shared=shared) if self.reuse and not pending else None,
            blobs=request.digests,
            cost=self.cost,
            rows=self.rows,
            room=self.room,
            request=request.model_dump_json(exclude_none=True),
            question=request.question,
            pictures=len(request.images),
        )
