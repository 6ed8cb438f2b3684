"""What a model's folder says about it without loading it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.calls.syntax import Known, syntax_of

SLOW_DISK = 100_000_000
"""Bytes a second; the first measured load replaces this guess."""

# Where transformers' processors and tokenizers keep `chat_template`, besides a file of its own.
TEMPLATE_HOLDERS = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ModelFolder:
    """`samples`, `has_chat_template` and `tools` (see `Lane`) are None where the folder does not say.

    `deaf` is a model whose config has no part for sounds.

    `load_guess_s` is how long a first load may take where none was measured: reading it off a slow disk.
    """

    files: tuple[Path, ...] = ()
    load_guess_s: float = 1.0
    samples: bool | None = None
    has_chat_template: bool | None = None
    tools: Known | None = None
    deaf: bool = False


def read_folder(source: str) -> ModelFolder:
    """Look at every file once; nothing is known of a folder that is not on this machine."""
    folder = Path(source)
    if not source or not folder.is_dir():
        return ModelFolder()
    files = tuple(f for f in folder.rglob("*") if f.is_file())
    generation = _json(folder / "generation_config.json")
    template, config = _template(folder), _json(folder / "config.json")
    return ModelFolder(
        files=files,
        load_guess_s=max(1.0, sum(f.stat().st_size for f in files) / SLOW_DISK),
        samples=None if generation is None else _samples(generation),
        has_chat_template=None if template is None else bool(template),
        tools=None if template is None else syntax_of(template),
        deaf=config is not None and not config.get("audio_config"),
    )


def _samples(generation: dict[str, Any]) -> bool:
    """A config that samples at a temperature of 0 draws nothing, as for a caller."""
    return bool(generation.get("do_sample", False)) and generation.get("temperature") != 0


def _template(folder: Path) -> str | None:
    """The chat template, or several joined; "" for none, None where the folder does not say."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        held = [_json(folder / name) for name in TEMPLATE_HOLDERS]
    found = next((config["chat_template"] for config in held if config and config.get("chat_template")), None)
    if found is None:
        return None if held[-1] is None else ""
    return found if isinstance(found, str) else json.dumps(found)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None
