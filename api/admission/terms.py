"""What a caller asks for beside the request itself, in small groups."""

from dataclasses import dataclass, field

from api.auth.callers import Caller
from shared.batch import LinePosition
from shared.job import Priority, Times
from shared.store.admission import NOW
from shared.webhooks import Webhook


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key, and the digest of method, path and body that a repeat must have too."""

    key: str
    body_digest: str


@dataclass(frozen=True)
class Caching:
    """`reuse_sampled` marks the Hugging Face routes, whose page promises caching of unseeded sampling too.

    A job that is not `stored` is forgotten once its end was reported, and shares its answer with nobody.
    """

    use_cache: bool = True
    reuse_sampled: bool = False
    stored: bool = True


@dataclass(frozen=True)
class Schedule:
    """`must_be_ready` refuses with 503 while no worker serves."""

    priority: Priority = "normal"
    times: Times = NOW
    must_be_ready: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a job comes from: the HTTP call (for logs and webhooks), the job that it retries, the line of a
    batch, or an OpenAI response, whose outline is JSON.
    """

    request_id: str = ""
    retry_of: str | None = None
    batch_line: LinePosition | None = None
    response: str | None = None


@dataclass(frozen=True)
class Terms:
    """`synchronous`: its caller waits for the answer, so the end goes to no endpoint and no event log.

    `raw_prompt` marks the raw route, where a model without a chat template answers a single turn.
    """

    caller: Caller
    idempotency: Idempotency | None = None
    caching: Caching = Caching()
    schedule: Schedule = Schedule()
    origin: Origin = Origin()
    metadata: dict[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    synchronous: bool = False
    raw_prompt: bool = False
