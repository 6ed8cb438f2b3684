"""What a model's folder says about it without loading it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOW_DISK = 100_000_000
"""Bytes a second; what a load really took replaces the guess."""

# Where transformers' processors and tokenizers keep `chat_template`, besides a file of its own.
TEMPLATE_HOLDERS = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ModelFolder:
    """`samples` and `has_chat_template` are None where the folder does not say.

    `load_guess_s` is what a first load may take where nothing was ever measured: its bytes off a slow disk.
    """

    files: tuple[Path, ...] = ()
    load_guess_s: float = 1.0
    samples: bool | None = None
    has_chat_template: bool | None = None


def read_folder(source: str) -> ModelFolder:
    """Look at every file once; nothing is known of a folder that is not on this machine."""
    folder = Path(source)
    if not source or not folder.is_dir():
        return ModelFolder()
    files = tuple(f for f in folder.rglob("*") if f.is_file())
    generation = _json(folder / "generation_config.json")
    return ModelFolder(
        files=files,
        load_guess_s=max(1.0, sum(f.stat().st_size for f in files) / SLOW_DISK),
        samples=None if generation is None else bool(generation.get("do_sample", False)),
        has_chat_template=_has_chat_template(folder),
    )


def _has_chat_template(folder: Path) -> bool | None:
    if (folder / "chat_template.jinja").is_file():
        return True
    held = [_json(folder / name) for name in TEMPLATE_HOLDERS]
    if any(config.get("chat_template") for config in held if config):
        return True
    return None if held[-1] is None else False


def _json(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None
