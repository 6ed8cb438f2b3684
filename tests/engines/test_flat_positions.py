"""Families whose prompts have positions in planes only where they have pictures (MiniCPM-V 4.7)."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2VLForConditionalGeneration

from tests.support.families import NAMED
from tests.support.families.asking import Subject
from tests.support.families.crowd import ROWS, Crowd, in_chunks, members

QWEN = NAMED["qwen2-vl"]


@pytest.fixture
def subject(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Subject:
    network = Qwen2VLForConditionalGeneration
    prepared: Any = network._prepare_position_ids_for_generation

    def flat(self: Any, inputs: Any, given: Any) -> Any:
        positions = prepared(self, inputs, given)
        return positions if "pixel_values" in given else positions[0]

    monkeypatch.setattr(network, "_prepare_position_ids_for_generation", flat)
    folder: Path = QWEN.folder(tmp_path_factory.getbasetemp())
    return Subject(QWEN, folder)


@pytest.mark.parametrize("mixes", [False, True], ids=["by themselves", "beside steps"])
def test_they_are_batched_and_answered_as_alone(
    subject: Subject, mixes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, alone, crowd = subject.engine("auto", rows=ROWS), subject.engine(), members(subject)
    assert engine.name == "continuous"
    assert "Error" not in engine.reason
    expected = [alone.generate(subject.row(alone, m.conversation, **m.parameters)).ids for m in crowd]
    in_chunks(monkeypatch, 40, mixes=mixes)
    assert Crowd(engine, subject).at_once(crowd, "flat") == expected
