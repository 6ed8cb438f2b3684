"""Fetches a model from the Hugging Face hub: first what describes it, then its weights."""

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.model_files import NOT_OURS, WEIGHTS, weights
from shared.models import Model
from sightline.exits import CommandError, Exit


@dataclass(frozen=True)
class HubModel:
    """A model of the hub whose small files are in `folder`; `weights` and `missing` are bytes.

    `unwanted` are patterns of weights in formats that are not fetched.
    """

    id: str
    commit: str
    folder: Path
    weights: int
    missing: int = 0
    unwanted: Sequence[str] = ()

    def download(self) -> None:
        """Fetch what is missing of the weights, with the library's bar. Raises CommandError."""
        room = shutil.disk_usage(self.folder).free
        if room < self.missing:
            need = f"{self.missing / 1e9:.1f} GB of {self.id} are to be fetched, {room / 1e9:.1f} GB are free"
            raise CommandError(Exit.DATA, f"{need} beside {self.folder}: HF_HOME names another folder.")
        if self.missing:
            # Ctrl-C ends this process: the library would wait until its threads have fetched their files.
            before = signal.signal(signal.SIGINT, signal.SIG_DFL)
            with _refusals(self.id):
                _snapshot(self.id, self.commit, self.unwanted)
            signal.signal(signal.SIGINT, before)


def described(id: str) -> HubModel:
    """Return the model at the head of its main branch, or as it is on this machine if there is no network.

    Raises CommandError.
    """
    with _refusals(id):
        from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError, RepositoryNotFoundError

        try:
            files: list[Any] = _snapshot(id, "main", dry_run=True)
        except DryRunError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                raise error.__cause__ from None
            folder = Path(_snapshot(id, "main", WEIGHTS, local_files_only=True))
            here = weights(folder)
            if not here or not all(file.is_file() for file in here):
                raise LocalEntryNotFoundError("An earlier download was not whole.") from None
            return HubModel(id, folder.name, folder, sum(file.stat().st_size for file in here))
        commit = files[0].commit_hash
        folder = Path(_snapshot(id, commit, WEIGHTS))
    large = [file for file in files if any(Path(file.filename).match(pattern) for pattern in WEIGHTS)]
    safe = [file for file in large if file.filename.endswith(".safetensors")]
    wanted = safe or large
    missing = sum(file.file_size for file in wanted if file.will_download)
    unwanted = [pattern for pattern in WEIGHTS if safe and pattern != "*.safetensors"]
    return HubModel(id, commit, folder, sum(file.file_size for file in wanted), missing, unwanted)


def check_on_hub(model: Model) -> None:
    """Fetch a model's `config.json` if it is not on this machine. Raises CommandError if that fails."""
    with _refusals(model.source):
        from huggingface_hub import hf_hub_download

        hf_hub_download(model.source, "config.json", revision=model.revision)


def _snapshot(id: str, revision: str, besides: Sequence[str] = (), **options: Any) -> Any:
    from huggingface_hub import snapshot_download

    return snapshot_download(id, revision=revision, ignore_patterns=[*NOT_OURS, *besides], **options)


@contextmanager
def _refusals(id: str) -> Iterator[None]:
    """Raise CommandError in place of the library's errors, or if there is no such library."""
    if find_spec("huggingface_hub") is None:
        message = f"{id} is to be fetched from the Hugging Face hub, which takes the package huggingface_hub"
        raise CommandError(Exit.USAGE, f"{message}: install the extra `worker`.")
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    hub = "the Hugging Face hub"
    try:
        yield
    except GatedRepoError:
        message = f"{id} is not for everybody: accept its licence on its page of {hub}, and set HF_TOKEN."
        raise CommandError(Exit.USAGE, message) from None
    except RepositoryNotFoundError:
        message = f"The Hugging Face hub has no {id}, or not for you: correct the id, or set HF_TOKEN."
        raise CommandError(Exit.USAGE, message) from None
    except LocalEntryNotFoundError:
        message = f"{id} is not on this machine yet, and {hub} does not answer"
        message += ": is there a network, or HF_HUB_OFFLINE set?"
        raise CommandError(Exit.UNREACHABLE, message) from None
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{id} could not be fetched whole ({reason}): the same command goes on where it ended."
        raise CommandError(Exit.UNREACHABLE, message) from None
