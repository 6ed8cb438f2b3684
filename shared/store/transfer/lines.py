"""The lines of an export: one for each thing that a store keeps, none of which says how a store keeps it.

They stand in the order in which they can be taken in. Times are Unix ms, `goes_ms` is when a record expires,
texts named `*_json` are JSON. Pictures and files are named by digest; their bytes stay in the blob store.
Secrets are in the file.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.job import CacheWord, Priority
from shared.request import Frozen

FORMAT = 1
"""Rises where what an older release wrote is read no more, or an older release would read it wrongly."""


class Start(Frozen):
    """The first line. `layout` is the prefix of the keys that were read."""

    kind: Literal["store"] = "store"
    format: int
    layout: str
    exported_at: str


class Mark(Frozen):
    """Since when and by whom a model is paused, or takes no new jobs."""

    at_ms: int
    by: str | None = None


class ModelLine(Frozen):
    """`row_json` is that of a model that no models file names."""

    kind: Literal["model"] = "model"
    lane: str
    row_json: str | None = None
    paused: Mark | None = None
    draining: Mark | None = None
    removed: bool = False


class Secret(Frozen):
    """Of an API key its digest; `until_ms` of one from before a rotation."""

    secret: str
    until_ms: int | None = None


class KeyLine(Frozen):
    """`fields` as of `shared.api_keys.ApiKey`."""

    kind: Literal["key"] = "key"
    id: str
    fields: dict[str, str]
    secrets: tuple[Secret, ...]


class EndpointLine(Frozen):
    """`fields` as of `shared.webhooks.Endpoint`, with its host."""

    kind: Literal["endpoint"] = "endpoint"
    id: str
    caller: str
    fields: dict[str, str]
    secrets: tuple[Secret, ...]


class FileLine(Frozen):
    """As `shared.file.File`."""

    kind: Literal["file"] = "file"
    id: str
    caller: str
    name: str
    purpose: str
    size: int
    digest: str
    created_ms: int
    expires_ms: int


class BatchLine(Frozen):
    """`fields` as of `shared.batch.Batch`, with all that its functions count; `told`, `untold` as in `End`.

    Of one that has not ended: the digests of written pieces, numbers of lines that repeat a custom_id, what
    is `known` of lines (functions/batches.lua), and as the first release had it lines that have ended and
    are not written yet, {number: [line, answer]}, both JSON.
    """

    kind: Literal["batch"] = "batch"
    id: str
    caller: str
    fields: dict[str, str]
    hook: dict[str, str] | None = None
    told: bool = True
    untold: tuple[str, ...] = ()
    goes_ms: int | None = None
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    doubles: tuple[int, ...] = ()
    known: dict[int, str] = Field(default_factory=dict)
    answered: dict[int, tuple[str, str]] = Field(default_factory=dict)


class BatchPlaceLine(Frozen):
    """Behind the jobs of a batch's lines: it goes on."""

    kind: Literal["batch_place"] = "batch_place"
    id: str
    caller: str


class Idempotency(Frozen):
    """The digests of an Idempotency-Key and of the body that came with it."""

    key: str
    body: str
    goes_ms: int


class Line(Frozen):
    """The line of a batch that a job answers."""

    batch: str
    number: int


class Attempt(Frozen):
    """As `shared.job.Attempt`; `error` has code and message."""

    number: int
    worker: str
    started: int
    ended: int | None = None
    outcome: str | None = None
    error: dict[str, str] | None = None


class End(Frozen):
    """How a job ended. `answer_goes_ms` is None where what it asked and was answered is no longer kept.

    `print` is the fingerprint under which the answer is in the cache, `texts_json` are the data of its text
    events. `told` says that its own webhook waits for nothing; `untold` are the endpoints that do.
    """

    status: Literal["succeeded", "failed", "cancelled"]
    at_ms: int
    started_ms: int | None = None
    first_ms: int | None = None
    attempts: tuple[Attempt, ...] = ()
    cache: CacheWord | None = None
    error_json: str | None = None
    result_json: str | None = None
    bare_json: str | None = None
    origin_json: str | None = None
    texts_json: tuple[str, ...] = ()
    print: str | None = None
    goes_ms: int | None = None
    answer_goes_ms: int | None = None
    told: bool = True
    untold: tuple[str, ...] = ()


class JobLine(Frozen):
    """A job with what it asks; one without an `end` waits.

    Names and meanings are those of `Placing` and `JobTerms` (shared/store/admission.py). `seq` is the
    number of the last event that its readers may know, where what they know is not kept.
    """

    kind: Literal["job"] = "job"
    id: str
    caller: str
    model: str
    lane: str
    priority: Priority
    created_ms: int
    request_json: str
    hash: str = ""
    key: str | None = None
    blobs: tuple[str, ...] = ()
    cost: int = 1
    rows: int = 1
    room: int = 0
    question: str | None = None
    pictures: int = 0
    metadata: dict[str, str] = Field(default_factory=dict)
    paths: dict[str, str] = Field(default_factory=dict)
    pending_terms: str | None = None
    idempotency: Idempotency | None = None
    schedule_at: int | None = None
    start_by: int | None = None
    finish_by: int | None = None
    retry_of: str | None = None
    response: str | None = None
    hook: dict[str, str] | None = None
    quiet: bool = False
    line: Line | None = None
    batch: str | None = None
    retain_s: int | None = None
    stored: bool = True
    request_id: str | None = None
    trace: str | None = None
    call_id: str | None = None
    seq: int = 0
    end: End | None = None


class Finish(Frozen):
    """The last line: how many there are of each kind, and what was left out."""

    kind: Literal["end"] = "end"
    counts: dict[str, int]
    left_out: dict[str, int]


Kept = ModelLine | KeyLine | FileLine | EndpointLine | BatchLine | JobLine | BatchPlaceLine
"""What a store keeps."""
LINE: TypeAdapter[Start | Kept | Finish] = TypeAdapter(
    Annotated[Start | Kept | Finish, Field(discriminator="kind")]
)


def written(line: Start | Kept | Finish) -> str:
    """One line of text, without what has its default."""
    return f'{{"kind":"{line.kind}",{line.model_dump_json(exclude_defaults=True)[1:]}'
