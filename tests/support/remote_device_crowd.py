"""`python -m tests.support.remote_device_crowd FOLDER FAMILY...` prints as JSON what callers of the shipped
model, and of small random ones of these families, are answered on the CPU one by one, and on a device in
a crowd.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.engines.continuous.conftest import QUESTIONS, Question, crowded, loaded
from tests.engines.continuous.test_continuous import MIXED
from tests.support import remote_device
from tests.support.families import FAMILIES
from tests.support.families.asking import Subject
from tests.support.families.crowd import ROWS, Crowd, members
from worker.engines.loading.pretrained import pretrained

FEW = 4
hooks: Any = import_module("accelerate.hooks")


def shipped() -> dict[str, Any]:
    """Every parameter, and formats."""
    asked: list[Question] = [*QUESTIONS, *MIXED[1::2]]
    alone, device = loaded(engine="sequential", rows=1, device="cpu"), loaded(device=remote_device.NAME)
    together = crowded(device, asked)
    return {
        "reason": device.engine.reason,
        "alone": [one.ask(alone).ids for one in asked],
        "crowd": [one.ids for one in together],
    }


def spread() -> dict[str, Any]:
    """The shipped model, all but its first language layers on the device: as a `device_map` spreads one."""

    def halved(*given: Any) -> tuple[Any, Any]:
        processor, network = pretrained(*given)
        for layer in network.model.language_model.layers[1:]:
            hooks.add_hook_to_module(layer.to(remote_device.NAME), _moves_to(remote_device.NAME))
        hooks.add_hook_to_module(network.model.language_model.norm, _moves_to("cpu"))
        return processor, network

    with patch("worker.engines.loading.loaded.pretrained", halved):
        both = loaded(device="cpu", packed=False)
    return {"reason": both.engine.reason, "crowd": [one.ids for one in crowded(both, QUESTIONS[:FEW])]}


def control() -> str:
    """What a device says of an operand that was left on the CPU."""
    try:
        torch.ones(2, device=remote_device.NAME) + torch.ones(2)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def _moves_to(device: str) -> Any:
    """accelerate's own; it moves what a layer is called with, all but the cache."""
    return hooks.AlignDevicesHook(execution_device=device, skip_keys="past_key_values")


def family(name: str, folder: Path) -> dict[str, Any]:
    """None is the answer to those who left."""
    [built] = [one for one in FAMILIES if one.name == name]
    subject = Subject(built, built.folder(folder))
    alone, device = (
        subject.engine(device="cpu"),
        subject.engine("continuous", rows=ROWS, device=remote_device.NAME),
    )
    crowd = members(subject)
    answers = [
        None if one.leaves else alone.generate(subject.row(alone, one.conversation, **one.parameters)).ids
        for one in crowd
    ]
    return {"reason": device.reason, "alone": answers, "crowd": Crowd(device, subject).ask(crowd)}


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    answers = {
        "control": control(),
        "shipped": shipped(),
        "spread": spread(),
        **{name: family(name, Path(folder)) for name in names},
    }
    print(json.dumps(answers))
