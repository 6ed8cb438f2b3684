"""Fetches a model from the Hugging Face hub: first what describes it, then, with a bar, its weights."""

import logging
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.model_files import NOT_OURS, WEIGHTS, weights
from sightline.exits import CommandError, Exit
from sightline.progress import Bar, tenths

WHOLE_BAR = "huggingface_hub.snapshot_download"
"""The name of the library's bar that counts the bytes of all files (huggingface_hub 2.4)."""


@dataclass(frozen=True)
class HubModel:
    """A model of the hub whose small files are in `folder`; `weights` and `missing` are bytes.

    `safe`: it has its weights as safetensors, and whatever else it has of them is not fetched.
    """

    id: str
    commit: str
    folder: Path
    weights: int
    missing: int
    safe: bool = True

    def download(self) -> None:
        """Fetch the weights; what an earlier call has fetched is not fetched again. Raises CommandError."""
        room = shutil.disk_usage(self.folder).free
        if room < self.missing:
            need = f"{self.missing / 1e9:.1f} GB of {self.id} are to be fetched, {room / 1e9:.1f} GB are free"
            raise CommandError(Exit.DATA, f"{need} beside {self.folder}: HF_HOME names another folder.")
        if not self.missing:
            return
        with _refusals(self.id), _interrupt() as interrupted, Bar("downloading", of_bytes=True) as bar:
            show = tenths("downloaded") if bar.disable else bar.show
            meter = _meter(self.missing, show, interrupted)
            others = [pattern for pattern in WEIGHTS if self.safe and pattern != "*.safetensors"]
            _snapshot(self.id, revision=self.commit, besides=others, tqdm_class=meter)


def described(id: str) -> HubModel:
    """The model at the head of its main branch; without a network as it is on this machine.

    Raises CommandError.
    """
    if find_spec("huggingface_hub") is None:
        message = f"{id} is to be fetched from the Hugging Face hub, which takes the package huggingface_hub"
        raise CommandError(Exit.USAGE, f"{message}: install the extra `worker`.")
    from huggingface_hub.errors import DryRunError, RepositoryNotFoundError

    with _refusals(id):
        try:
            files: list[Any] = _snapshot(id, revision="main", dry_run=True)
        except DryRunError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                raise error.__cause__ from None
            folder = Path(_snapshot(id, revision="main", local_files_only=True))
            return HubModel(id, folder.name, folder, _whole_size(folder), 0)
        commit = files[0].commit_hash
        folder = Path(_snapshot(id, revision=commit, besides=WEIGHTS))
    large = [file for file in files if any(Path(file.filename).match(pattern) for pattern in WEIGHTS)]
    safe = [file for file in large if file.filename.endswith(".safetensors")]
    missing = sum(file.file_size for file in safe or large if file.will_download)
    return HubModel(id, commit, folder, sum(file.file_size for file in safe or large), missing, bool(safe))


def _snapshot(id: str, *, besides: Sequence[str] = (), **options: Any) -> Any:
    from huggingface_hub import snapshot_download

    # It warns of each try that it repeats.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    options.setdefault("tqdm_class", _meter(0, lambda _done, _total: None, threading.Event()))
    return snapshot_download(id, ignore_patterns=[*NOT_OURS, *besides], **options)


def _whole_size(folder: Path) -> int:
    """Bytes of the weights. Raises LocalEntryNotFoundError where some are not here."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = weights(folder)
    if not files or not all(file.is_file() for file in files):
        raise LocalEntryNotFoundError("An earlier download was not whole.")
    return sum(file.stat().st_size for file in files)


def _meter(total: int, show: Callable[[int, int], object], interrupted: threading.Event) -> type:
    """A class of bar for the library, which shows nothing itself and ends the threads that call it."""
    from huggingface_hub.utils.tqdm import tqdm

    class Meter(tqdm):
        _done = 0.0

        def __init__(self, *args: Any, name: str | None = None, **options: Any) -> None:
            self._whole = name == WHOLE_BAR
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            self._done += n or 0
            if self._whole:
                show(int(self._done), total)

    return Meter


@contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """Set at Ctrl-C: the library would go on until its threads have fetched their files."""
    interrupted = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _refusals(id: str) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        yield
    except GatedRepoError:
        page = f"accept its licence on the page of {id}, and set HF_TOKEN"
        raise CommandError(
            Exit.USAGE, f"The Hugging Face hub does not give {id} to everybody: {page}."
        ) from None
    except RepositoryNotFoundError:
        message = f"The Hugging Face hub has no {id}, or not for you: correct the id, or set HF_TOKEN."
        raise CommandError(Exit.USAGE, message) from None
    except LocalEntryNotFoundError:
        message = f"{id} is not on this machine yet, and the Hugging Face hub does not answer"
        raise CommandError(
            Exit.UNREACHABLE, f"{message}: is there a network, or HF_HUB_OFFLINE set?"
        ) from None
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{id} could not be fetched whole ({reason}): the same command goes on where it ended."
        raise CommandError(Exit.UNREACHABLE, message) from None
