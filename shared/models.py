"""The models an installation serves. `shared.models_file` reads them."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shared.errors import CallerError
from shared.request import Frozen
from shared.tool_calls.syntax import Known, syntax_of
from shared.variables import MOST_VARIABLES, Variable, VariableName, rendered

START_S, SLOW_DISK = 30.0, 100_000_000
"""What a load takes beside its reading, and bytes a second; the first measured load replaces this guess."""

WEIGHTS = (".safetensors", ".bin")
"""Files that hold them; of one kind, where there are two."""

# Where transformers' processors and tokenizers keep `chat_template`, besides a file of its own.
TEMPLATE_HOLDERS = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ModelFolder:
    """`samples` and `tools` (see `Lane`) are None where the folder does not say.

    `deaf` is a model whose config has no part for sounds; `context_length` is what its config names.

    `load_guess_s` is how long a first load may take where none was measured, off a slow disk; `weights` are
    the bytes of the files with weights.
    """

    files: tuple[Path, ...] = ()
    load_guess_s: float = 1.0
    weights: int = 0
    samples: bool | None = None
    tools: Known | None = None
    deaf: bool = False
    context_length: int | None = None


def may_be_on_hub(source: str) -> bool:
    """Whether a source that is no folder on this machine may be a model id of the Hugging Face hub."""
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def read_folder(source: str) -> ModelFolder:
    """Look at every file once; nothing is known of a folder that is not on this machine."""
    folder = Path(source)
    if not source or not folder.is_dir():
        return ModelFolder(load_guess_s=START_S if source else 1.0)
    try:
        sizes = {f: f.stat().st_size for f in folder.rglob("*") if f.is_file()}
    except OSError:
        # Its worker says what is wrong with it.
        sizes = {}
    generation = _json(folder / "generation_config.json")
    template, config = _template(folder), _json(folder / "config.json")
    return ModelFolder(
        files=tuple(sizes),
        load_guess_s=START_S + sum(sizes.values()) / SLOW_DISK,
        weights=next(filter(None, (_size(sizes, suffix) for suffix in WEIGHTS)), 0),
        samples=None if generation is None else _samples(generation),
        tools=None if template is None else syntax_of(template),
        deaf=config is not None and not config.get("audio_config"),
        context_length=_length(config or {}, _json(folder / "tokenizer_config.json") or {}),
    )


def _size(sizes: Mapping[Path, int], suffix: str) -> int:
    return sum(size for file, size in sizes.items() if file.suffix == suffix)


def _length(config: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    """As a worker will find it; None where the config leaves it to its class."""
    text = config.get("text_config") or config.get("llm_config") or config
    own = text.get("max_position_embeddings") if isinstance(text, dict) else None
    most = tokenizer.get("model_max_length")
    if not isinstance(own, int) or own < 1:
        return None
    return min(own, int(most)) if isinstance(most, int | float) and most >= 1 else own


def _samples(generation: dict[str, Any]) -> bool:
    """A config that samples at a temperature of 0 draws nothing, as for a caller."""
    return bool(generation.get("do_sample", False)) and generation.get("temperature") != 0


def _template(folder: Path) -> str | None:
    """The chat template, or several joined; "" for none, None where the folder does not say."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        configs = [_json(folder / name) for name in TEMPLATE_HOLDERS]
    template = next(
        (config["chat_template"] for config in configs if config and config.get("chat_template")), None
    )
    if template is None:
        return None if configs[-1] is None else ""
    return template if isinstance(template, str) else json.dumps(template)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


LISTED = 10
"""Models that an error message names."""

NOBODY = frozenset({"dummy", "tgi"})
"""What Hugging Face's clients, and the docs of text-generation-inference, write in place of a name."""

RESERVED = re.compile(r"/(?:health|info|v1)(?=/|\Z)")
"""What may follow an id in the paths of its model, so no id may contain it."""

_URL = re.compile(r"https?://", re.IGNORECASE)
SPARE_THREADS = 2
"""A worker's threads beyond its rows, which prepare the next pictures while every row is busy."""

LONGEST_SLUG = 240
"""A slug is part of a log's file name, which has at most 255 bytes."""


Mark = Annotated[str, Field(pattern=r"^\S{1,64}$")]


class Model(Frozen):
    """One row of the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$", description="What callers name, org/name."
    )
    engine: Literal["auto", "continuous", "echo", "sequential", "vllm"] = Field(
        "auto", description="auto = the best of ours that fits the model."
    )
    source: str = Field(
        "",
        validate_default=True,
        description="Hub id or folder; relative folders are relative to the models file.",
    )
    description: str = Field(
        "", max_length=300, description="What it is for, in a sentence; shown on the page, with `code`."
    )
    example: str = Field("", max_length=300, description="A question that it answers well.")
    revision: str = Field("main", description="Hub revision; part of the request hash.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of the engine.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of weights; auto = the files' own."
    )
    quantization_config: dict[str, Any] | None = Field(
        None, description="Handed to transformers; needs the method's package."
    )
    packed: bool | None = Field(
        None, description="Linear layers laid out for the CPU; by default those that gain by it."
    )
    attention: str = Field("sdpa", description="Attention implementation of transformers.")
    cache: Literal["dynamic", "static"] = Field(
        "dynamic", description="static = of one size, made for one request at a time."
    )
    device: str = Field("auto", description="auto = cuda where there is one, else cpu.")
    device_map: str | dict[str, str | int] | None = Field(
        None, description="Handed to transformers in place of device."
    )
    rows: int = Field(
        16, ge=1, le=1024, description="Requests in flight at once, where the engine can and memory lets it."
    )
    context_length: int | None = Field(
        None, ge=1, description="Tokens of prompt and answer; the model's own by default."
    )
    max_pictures: int | None = Field(
        None, ge=1, description="Pictures and pages in one request; SIGHTLINE_PICTURES__MAX_COUNT by default."
    )
    max_new_tokens: int = Field(512, ge=1, description="Longest answer where the caller says nothing.")
    chat_template_kwargs: dict[VariableName, Variable] = Field(
        default_factory=dict,
        max_length=MOST_VARIABLES,
        description="Variables of the model's chat template, where the caller sets none.",
    )
    reasoning: tuple[Mark, ...] | None = Field(
        None,
        max_length=2,
        description="The two marks around its thoughts; those of its chat template by default, [] = none.",
    )
    trust_remote_code: bool = Field(
        False, strict=True, description="Run code from the model's folder; needs a pinned revision."
    )
    resident: Literal["auto", "always"] = Field(
        "auto", description="always = a node never unloads it; auto = it makes room for models asked for."
    )
    keep_alive_s: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Seconds without work after which a node unloads it; with a number it is loaded when asked "
        "for. Not set: it is loaded at the start where there is room, and kept until that is needed.",
    )
    memory_mb: int | None = Field(
        None, ge=1, description="What it takes of its device in MiB, until a node has measured it."
    )

    @field_validator("id")
    @classmethod
    def _apart_from_paths(cls, value: str) -> str:
        if RESERVED.search(value):
            raise ValueError("an id has none of /health, /info, /v1")
        # Clients would shorten such a path to that of another model.
        if {"", ".", ".."} & set(value.split("/")):
            raise ValueError("an id has names between its slashes, none of them . or ..")
        if len(_slug(value)) > LONGEST_SLUG:
            raise ValueError("an id of this length has fewer slashes")
        return value

    @field_validator("source")
    @classmethod
    def _somewhere(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("engine") != "echo":
            words = "name a folder or a Hub id; only the engine echo has none"
            raise PydanticCustomError("missing", words)
        if value.startswith("~"):
            raise ValueError("write the folder in full; ~ is a shell's word")
        return value

    @field_validator("options")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        if any(isinstance(v, dict | list) for v in value.values()):
            raise ValueError("engine options are plain values")
        if any(isinstance(v, float) and not math.isfinite(v) for v in value.values()):
            raise ValueError("engine options are finite numbers")
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def _not_rendered(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in filter(rendered, value):
            raise ValueError(f"{name} follows from each request and from the model")
        return dict(sorted(value.items()))

    @field_validator("reasoning")
    @classmethod
    def _in_pairs(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and len(value) == 1:
            raise ValueError("two marks, before and behind a thought")
        return value

    @field_validator("attention")
    @classmethod
    def _in_its_format(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("flash_") and info.data.get("dtype") == "float32":
            raise ValueError(f"{value} computes in bfloat16 and float16 only; set dtype")
        return value

    @field_validator("device_map")
    @classmethod
    def _placed_once(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("device") != "auto":
            raise ValueError("device is set as well; leave one of them out")
        return value

    @property
    def slug(self) -> str:
        """The id as a file or queue name."""
        return _slug(self.id)

    @property
    def lane(self) -> str:
        """The queue this model's runs wait in; also the name of its Celery queue."""
        return f"model.{self.slug}"

    @property
    def rows_at_once(self) -> int:
        """`rows`, or 1 where the row itself says that requests go one by one."""
        return 1 if self.engine == "sequential" or self.cache == "static" else self.rows

    @property
    def threads(self) -> int:
        return self.rows_at_once + SPARE_THREADS

    @cached_property
    def folder(self) -> ModelFolder:
        """What the model's folder says; read by `load_models`, so that no later call waits for a disk."""
        return read_folder(self.source)

    def length(self, published: int | None) -> int | None:
        """Tokens of prompt and answer: the row's, the one that a worker published, or its folder's."""
        return self.context_length or published or self.folder.context_length

    @property
    def samples(self) -> bool | None:
        """Whether the model's own generation config draws at random, as far as its folder says."""
        return False if self.engine == "echo" else self.folder.samples

    @property
    def tools(self) -> Known | None:
        """The form in which the model calls functions, as far as its folder says; "" for none."""
        return "hermes" if self.engine == "echo" else self.folder.tools

    @property
    def sampling_rate(self) -> int | None:
        """0 where the model surely takes no sounds, None where its folder does not say."""
        return 0 if self.engine == "vllm" or (self.engine != "echo" and self.folder.deaf) else None

    @property
    def videos(self) -> bool | None:
        """False where the model surely takes no videos, None where only a worker can say."""
        return False if self.engine == "vllm" else None


@lru_cache(1024)
def _slug(id: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "--", id.lower())


class Models:
    """The models that are served, in order; operators may add and remove some (`shared.registry`)."""

    def __init__(self, rows: tuple[Model, ...]) -> None:
        self.replace(rows)

    def replace(self, rows: tuple[Model, ...], removed: tuple[Model, ...] = ()) -> None:
        """Serve these, each in a lane of its own, from now on, and remember those that are removed."""
        self.rows = rows
        self._by_id = {m.id: m for m in rows}
        self._removed = {m.id: m for m in removed}

    @property
    def first(self) -> Model:
        """The model of routes that name none. Raises CallerError `model_not_found`."""
        if not self.rows:
            raise CallerError("model_not_found", "No model is served here.")
        return self.rows[0]

    def resolve(self, name: str | None, *, path_id: str | None = None) -> Model:
        """The model a caller means.

        A `:provider` suffix is dropped. One of NOBODY, a URL or nothing mean the model of the path, else the
        only one served (what unmodified Hugging Face clients send). Raises CallerError `model_not_found`, and
        `invalid_request` where the name and the path mean different models.
        """
        named = name if name and name not in NOBODY and not _URL.match(name) else None
        if path_id is None:
            return self._only() if named is None else self._named(named)
        model = self._named(path_id)
        if named is not None and self._find(named) is not model:
            message = f"`model` names another model than the path, which means {model.id}; leave it out."
            raise CallerError("invalid_request", message, param="model")
        return model

    def recall(self, name: str | None, *, path_id: str | None = None) -> Model:
        """As `resolve`, removed models included: a repeated call gets the answer it got before."""
        try:
            return self.resolve(name, path_id=path_id)
        except CallerError:
            model = self._removed.get(path_id or name or "")
            if model is None:
                raise
            return model

    def worker_model(self, name: str) -> Model:
        """The model a worker serves, by its setting; the first where that is empty. Raises as `resolve`."""
        return self.resolve(name) if name else self.first

    def _only(self) -> Model:
        if len(self.rows) < 2:
            return self.first
        names = ", ".join(m.id for m in self.rows[:LISTED]) + (", …" if len(self.rows) > LISTED else "")
        raise CallerError(
            "model_not_found", f"Several models are served; name one of: {names}.", param="model"
        )

    def _named(self, name: str) -> Model:
        model = self._find(name)
        if model is None:
            message = f"The model {name[:200]!r} is not served here; GET /v1/models lists what is."
            raise CallerError("model_not_found", message, param="model")
        return model

    def _find(self, name: str) -> Model | None:
        return self._by_id.get(name) or self._by_id.get(name.partition(":")[0])


def read_row(row: str) -> Model | None:
    """A row that operators added; None where another release wrote what this one does not know."""
    try:
        model = Model.model_validate_json(row)
    except ValidationError:
        return None
    _ = model.folder
    return model
