"""Models and the service as a whole: what is served, how each model stands, what waits and who works."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NotRequired, cast

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from shared import fleet, models
from shared.blobs import Reach
from shared.estimate import Lane
from shared.settings import Settings

State = Literal["ready", "loading", "cold", "no_worker", "failed"]
Standing = Literal[State, "paused", "draining"]
_HF_STATES: dict[State, Literal["Loaded", "Loadable", "error"]] = {
    "ready": "Loaded",
    "loading": "Loadable",
    "cold": "Loadable",
    "no_worker": "Loadable",
    "failed": "error",
}


@dataclass(frozen=True)
class ModelState:
    """`estimated_time` is the seconds until it is ready; of a paused model (`basis` says so) the seconds
    after which to ask again.
    """

    lane: Lane
    estimated_time: float
    basis: str

    @property
    def standing(self) -> Standing:
        """Return the model's state for a new request, or `draining` or `paused`."""
        if self.lane.state != "failed" and (self.lane.draining or self.lane.paused):
            return "draining" if self.lane.draining else "paused"
        return cast(State, self.lane.state)


class Residency(TypedDict):
    """Whether a model is in a device's memory. A `cold` one is loaded when it is asked for."""

    state: Literal["resident", "loading", "cold", "no_worker", "failed"]
    since: float | None
    estimated_time: Annotated[float, Field(description="Seconds until it is resident.")]
    reason: Annotated[str | None, Field(description="Why it was unloaded, or cannot be loaded.")]


class Model(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    description: NotRequired[Annotated[str, Field(description="What it is for, where its row says so.")]]
    example: NotRequired[Annotated[str, Field(description="A question that it answers well.")]]
    max_model_len: NotRequired[
        Annotated[int, Field(description="Tokens of prompt and answer, where its row or a worker says so.")]
    ]
    max_side: NotRequired[
        Annotated[int, Field(description="What the longer side of pictures is shrunk to, where it is.")]
    ]
    max_pictures: Annotated[int, Field(description="Pictures in one request.")]
    max_picture_mb: Annotated[float, Field(description="Largest picture file in MiB.")]
    max_body_mb: Annotated[float, Field(description="Largest request body in MiB.")]
    max_document_mb: Annotated[float, Field(description="Largest document file in MiB.")]
    max_document_pages: Annotated[int, Field(description="Pages of a document asked page by page.")]
    max_videos: NotRequired[
        Annotated[int, Field(description="Videos in one request, where a worker says that it takes them.")]
    ]
    max_video_mb: NotRequired[Annotated[float, Field(description="Largest video file in MiB.")]]
    max_video_s: NotRequired[Annotated[float, Field(description="Longest video, in seconds.")]]
    max_video_frames: NotRequired[
        Annotated[int, Field(description="Frames of videos that the model is shown in one request.")]
    ]
    residency: NotRequired[Residency]


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[Model]


@with_config(ConfigDict(protected_namespaces=()))
class ModelInfo(TypedDict):
    model_id: str
    model_sha: str
    model_dtype: str
    model_device_type: str
    state: Standing
    workers: int
    queued: int
    estimated_time: float
    basis: str


class Calibration(TypedDict):
    """Of the model's last thousand or so runs: the share that began within the p50 and p90 told."""

    scored: int
    within_p50: float
    within_p90: float


class ModelStatus(TypedDict):
    loaded: bool
    state: Literal["Loaded", "Loadable", "error"]
    compute_type: str
    framework: Literal["transformers"]
    workers: int
    queued: int
    estimated_time: float
    basis: str
    reason: str | None
    residency: Residency
    engine: str | None
    engine_reason: str | None
    paused: bool
    draining: bool
    calibration: Calibration | None


class ModelHealth(TypedDict):
    status: Literal["ready"]


StoreState = Literal["reachable", "nearly_full", "read_only", "unreachable"]
_REACH = (
    "One that is `read_only` refuses what it is to keep: it tells so, or a write of the last minute failed "
    "and none since has succeeded."
)
_STORE = (
    "The record store. One that is `nearly_full`, of its memory, takes no jobs, and what it took goes on; "
    "one that is `read_only` takes nothing, as where its disk is full."
)


BlobKind = Literal["folder", "s3", "gs", "az"]


class BlobStore(TypedDict):
    """Where pictures and files lie."""

    kind: BlobKind
    state: Annotated[Reach, Field(description=_REACH)]


class StoreMemory(TypedDict):
    """What fills the record store's memory, in bytes."""

    used: int
    limit: Annotated[int, Field(description="0: none.")]
    reserved: Annotated[int, Field(description="What accepted work may take more until it has ended.")]
    records: Annotated[int, Field(description="What callers' records take.")]
    rest: Annotated[int, Field(description="Used by all else: other programs, indexes, overhead.")]
    full: Annotated[bool, Field(description="New work is refused.")]


class Health(TypedDict):
    status: Literal["ok"]
    store: Annotated[StoreState, Field(description=_STORE)]
    blobs: BlobStore


class Readiness(TypedDict):
    status: Literal["ready", "not_ready"]
    models: dict[str, Standing]
    memory: StoreMemory
    blobs: BlobStore


class Waiting(TypedDict):
    interactive: int
    normal: int
    batch: int


class Worker(TypedDict):
    """`busy` counts the rows of the runs it holds. It may exceed `rows`: the next ones are being prepared.

    `memory` in bytes.

    `tokens_per_s` is what it generated in the last ten seconds. Workers whose `fingerprint` differs answer
    differently; it is empty while the model is loaded.
    """

    id: str
    state: Literal["ready", "loading"]
    host: str
    pid: int
    since: float
    rows: int
    busy: int
    memory: int
    tokens_per_s: float
    fingerprint: str


class LastWorker(TypedDict):
    id: str
    host: str
    seen_at: float


class ModelFleet(TypedDict):
    """`queued` and `running` count runs, `backlog` the rows of both: the signal to scale by.

    Of a paused model `backlog` has only what runs. Calls of the last minute that were refused since no worker
    was ready count as one.

    `drained`: its workers can be stopped. `paused_by` and `draining_by` are operators' names.

    `given_back` counts runs whose workers vanished, of the last 15 minutes.
    """

    model: str
    state: State
    reason: str | None
    residency: Residency
    paused: bool
    paused_at: float | None
    paused_by: str | None
    draining: bool
    draining_at: float | None
    draining_by: str | None
    drained: bool
    queued: Waiting
    running: int
    backlog: int
    oldest_queued_s: float | None
    engine: str | None
    engine_reason: str | None
    workers: list[Worker]
    last_worker: Annotated[LastWorker | None, Field(description="The last one seen, alive or not.")]
    given_back: int


class WebhookCalls(TypedDict):
    """Calls of all callers' webhooks. At least so many, if they go to hundreds of hosts."""

    due: int
    later: Annotated[int, Field(description="They failed and are made again at their time.")]
    under_way: int


class Couriers(TypedDict):
    """The processes that fetch pictures and files, call webhooks and repair what a crash leaves behind."""

    workers: Annotated[list[Worker], Field(description="Those alive.")]
    last_worker: LastWorker | None
    queued: Annotated[int, Field(description="Jobs whose pictures or files are to be fetched.")]
    oldest_queued_s: float | None
    webhook_calls: WebhookCalls


class Fleet(TypedDict):
    models: list[ModelFleet]
    couriers: Couriers


class LiveModel(TypedDict):
    """A model's line and workers as they are now."""

    state: State
    paused: bool
    draining: bool
    waiting: int
    running: int
    workers: int


class LiveEvent(TypedDict):
    """`jobs` has what changed of the caller's newest 200, `fleet` the models that changed: for operators."""

    changed: NotRequired[list[str]]
    models: NotRequired[dict[str, LiveModel]]


def to_live_model(state: fleet.Fleet) -> LiveModel:
    return {
        "state": cast(State, state.lane.state),
        "paused": state.lane.paused,
        "draining": state.lane.draining,
        "waiting": sum(state.waiting.values()),
        "running": state.lane.running,
        "workers": len(state.workers),
    }


def to_model(model: models.Model, settings: Settings, lane: Lane | None = None) -> Model:
    """OpenAI's model object. Its clients need a number in `created`; a folder of weights has no such time.

    vLLM's clients read `max_model_len` first: known also before a load, where a folder names it.
    """
    owner, slash, _ = model.id.partition("/")
    answer: Model = {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": owner if slash else "sightline",
        "max_pictures": min(settings.pictures.max_count, model.max_pictures or settings.pictures.max_count),
        "max_picture_mb": settings.pictures.max_mb,
        "max_body_mb": settings.api.body_mb,
        "max_document_mb": settings.documents.max_mb,
        "max_document_pages": settings.documents.max_pages,
    }
    if model.description:
        answer["description"] = model.description
    if model.example:
        answer["example"] = model.example
    if lane:
        answer["residency"] = to_residency(model, lane)
    length = model.length(lane.context_length if lane else None)
    if length:
        answer["max_model_len"] = length
    if lane and lane.max_side:
        answer["max_side"] = lane.max_side
    if lane and lane.videos:
        limits = settings.videos
        answer["max_videos"], answer["max_video_mb"] = limits.max_count, limits.max_mb
        answer["max_video_s"], answer["max_video_frames"] = limits.max_s, limits.max_frames
    return answer


def to_residency(model: models.Model, lane: Lane) -> Residency:
    return cast(Residency, fleet.residency(lane, model.folder.load_guess_s))


def to_info(model: models.Model, state: ModelState) -> ModelInfo:
    """TGI's endpoint information, as far as it fits, and the model's queue."""
    return {
        "model_id": model.id,
        "model_sha": model.revision,
        "model_dtype": model.dtype,
        "model_device_type": model.device,
        "state": state.standing,
        "workers": state.lane.ready + state.lane.loading,
        "queued": state.lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
    }


def to_status(model: models.Model, state: ModelState) -> ModelStatus:
    """In the words of the former HF API."""
    lane = state.lane
    return {
        "loaded": lane.state == "ready",
        "state": _HF_STATES[cast(State, lane.state)],
        "compute_type": model.device,
        "framework": "transformers",
        "workers": lane.ready + lane.loading,
        "queued": lane.queued,
        "estimated_time": state.estimated_time,
        "basis": state.basis,
        "reason": lane.failed,
        "residency": to_residency(model, lane),
        "engine": lane.engine,
        "engine_reason": lane.engine_reason,
        "paused": lane.paused,
        "draining": lane.draining,
        "calibration": None if lane.calibration is None else cast(Calibration, asdict(lane.calibration)),
    }


def to_couriers(intake: fleet.Fleet, calls: tuple[int, int, int]) -> Couriers:
    row, (due, later, under_way) = intake.to_row(""), calls
    return {
        "workers": cast(list[Worker], row["workers"]),
        "last_worker": cast(LastWorker | None, row["last_worker"]),
        "queued": intake.lane.queued,
        "oldest_queued_s": row["oldest_queued_s"],
        "webhook_calls": {"due": due, "later": later, "under_way": under_way},
    }


def to_model_fleet(model: models.Model, row: fleet.Fleet) -> ModelFleet:
    return cast(ModelFleet, row.to_row(model.id, model.folder.load_guess_s))
