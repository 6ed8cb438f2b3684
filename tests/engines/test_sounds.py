"""Sounds behind our engines: what transformers answers alone, whoever is beside them."""

import json
import shutil
import threading
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.models import Model
from shared.request import Image, Message, Parameters, Part, Request, Sound, Text
from tests.engines.suite import refused
from tests.support.families.asking import BLUE, RED, Subject
from tests.support.families.family import Family, hf
from tests.support.families.gemma import gemma4, gemma4_listening
from tests.support.sounds import wave
from worker.engines.base import Engine, Finish, Row, Samples
from worker.engines.continuous.prompt_content import SOUNDS, PromptContent
from worker.engines.continuous.verify import verify
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

LISTENING = Family("gemma4-listening", gemma4_listening, seed=2)
LOW, HIGH, LONG = wave(hertz=220.0), wave(hertz=1760.0), wave(2.3, hertz=440.0)
TOKENS = 10
Piece: TypeAlias = "str | Samples | Picture"
QUESTIONS: tuple[tuple[Piece, ...], ...] = (
    (LOW, "What?"),
    (HIGH, "What?"),
    ("First", LONG, "then", LOW, "?"),
    (RED, "and", HIGH),
    ("Nothing to hear.",),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LISTENING.folder(tmp_path_factory.getbasetemp())


@cache
def loaded(folder: Path, name: str) -> Engine:
    return create(
        Model(id="tiny/ears", source=str(folder), engine=name, rows=1 if name == "sequential" else 4)
    ).load()


def request(*turns: Sequence[Piece]) -> Request:
    messages = [
        Message(role=("user", "assistant")[at % 2], parts=tuple(map(_part, turn)))
        for at, turn in enumerate(turns)
    ]
    return Request(model="m", messages=tuple(messages), parameters=Parameters(max_new_tokens=TOKENS))


def _part(piece: Piece) -> Part:
    return Text(text=piece) if isinstance(piece, str) else Sound() if isinstance(piece, array) else Image()


def row(engine: Engine, turns: Sequence[Sequence[Piece]], scope: str) -> Row:
    asked, pieces = request(*turns), [piece for turn in turns for piece in turn]
    pictures = [p for p in pieces if isinstance(p, Picture)]
    prompt = engine.prepare(asked, pictures, scope, [p for p in pieces if isinstance(p, array)])
    return Row(prompt, asked.parameters, lambda _: None, threading.Event())


def answer(engine: Engine, pieces: Sequence[Piece], scope: str = "mine") -> Finish:
    return engine.generate(row(engine, [pieces], scope))


@cache
def alone(folder: Path, at: int) -> tuple[int, ...]:
    """As transformers' documentation asks."""
    subject, content = Subject(LISTENING, folder), [_documented(piece) for piece in QUESTIONS[at]]
    inputs = subject.templated([{"role": "user", "content": content}])
    with torch.inference_mode():
        return subject.continued(inputs, max_new_tokens=TOKENS, do_sample=False)


def _documented(piece: Piece) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if isinstance(piece, Picture):
        return {"type": "image", "image": piece}
    return {"type": "audio", "audio": np.frombuffer(piece, dtype=np.float32)}


@pytest.mark.parametrize("name", ["sequential", "continuous"])
@pytest.mark.parametrize("at", range(len(QUESTIONS)))
def test_a_sound_is_answered_as_transformers_alone_answers_it(folder: Path, name: str, at: int) -> None:
    assert answer(loaded(folder, name), QUESTIONS[at]).ids == alone(folder, at)


def test_sounds_in_a_crowd_are_answered_as_alone(folder: Path) -> None:
    engine = loaded(folder, "continuous")
    crowd = list(range(len(QUESTIONS))) * 3
    with ThreadPoolExecutor(len(crowd)) as pool:
        found = list(pool.map(lambda at: answer(engine, QUESTIONS[at]).ids, crowd))
    assert found == [alone(folder, at) for at in crowd]


def test_another_sound_is_another_answer_and_what_was_kept_of_one_serves_no_other(folder: Path) -> None:
    engine = loaded(folder, "continuous")
    first, second, again = (answer(engine, (sound, "And this?"), "new") for sound in (LOW, HIGH, LOW))
    assert first.ids == again.ids != second.ids
    assert second.cached_tokens == 0
    assert again.cached_tokens > 25


CHATS: dict[str, tuple[tuple[Piece, ...], ...]] = {
    "a picture first": ((RED, "What?"), (LOW, "And this?"), ("Now see", BLUE), (LONG, RED, "and then?")),
    "a sound first": ((LOW, "What?"), ("Sure?",), (LONG, HIGH, "or these?"), (BLUE, RED, "?")),
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_a_chat_goes_on_whatever_was_heard_and_seen_in_it_and_is_answered_as_ever(
    folder: Path, chat: tuple[tuple[Piece, ...], ...]
) -> None:
    """Also where a longer sound follows, beside which the first is filled up."""
    kept, alone = loaded(folder, "continuous"), loaded(folder, "sequential")
    turns, known = list[tuple[Piece, ...]](), 0
    for turn in chat:
        turns.append(turn)
        asked = row(kept, turns, str(chat[0]))
        found, due = kept.generate(asked), alone.generate(row(alone, turns, ""))
        assert found.ids == due.ids
        assert found.cached_tokens >= known
        known = asked.prompt.tokens
        turns.append((due.text or "-",))


@pytest.mark.thorough
def test_a_chat_is_not_continued_between_sounds_that_a_model_would_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(folder, "sequential")._loaded  # type: ignore[attr-defined]
    assert verify(model).reusable.sounds

    behind = PromptContent.behind

    def turned(self: PromptContent, start: int) -> dict[str, Any]:
        inputs = behind(self, start)
        return {name: value.flip(1) if name in SOUNDS else value for name, value in inputs.items()}

    monkeypatch.setattr(PromptContent, "behind", turned)
    proved = verify(model).reusable
    assert (proved.beginnings, proved.sounds) == (True, False)
    assert proved.flaw in proved.words


def test_the_tokens_of_a_sound_are_counted(folder: Path) -> None:
    engine = loaded(folder, "continuous")
    counts = [engine.prepare(request((s, "?")), [], "", [s]).audio_tokens for s in (LOW, LONG)]
    assert counts == [25, 58]
    shortest = LOW[:161]
    assert engine.prepare(request((shortest, "?")), [], "", [shortest]).audio_tokens == 1
    assert answer(engine, (shortest, "?")).ids


def test_only_a_model_with_an_ear_says_that_it_listens(folder: Path, tmp_path: Path) -> None:
    assert loaded(folder, "sequential").facts.sampling_rate == 16_000
    deaf = create(
        Model(id="tiny/deaf", source=str(Family("gemma4-deaf", gemma4).save(tmp_path)), engine="sequential")
    ).load()
    assert deaf.facts.sampling_rate == 0


def test_what_is_longer_than_the_model_listens_is_refused_and_not_cut_off(folder: Path) -> None:
    long = wave(30.5, hertz=10.0)
    with refused("invalid_audio", "sounds[0]", match="listens for 30 s"):
        loaded(folder, "sequential").prepare(request((long, "?")), [], "", [long])


def test_a_sound_is_not_cut_off_where_a_models_texts_were_in_training(folder: Path, tmp_path: Path) -> None:
    trained = shutil.copytree(folder, tmp_path / "trained", ignore=shutil.ignore_patterns("*.safetensors"))
    file = trained / "tokenizer_config.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(known | {"truncation": True, "max_length": 1000}), encoding="utf-8")
    found, due = (
        Renderer(hf.AutoProcessor.from_pretrained(each), hf.AutoConfig.from_pretrained(each), 2048).prompt(
            request((LONG, "What is said?")), [], [LONG]
        )
        for each in (trained, folder)
    )
    assert found.audio_tokens == due.audio_tokens > 0
    for name, value in due.inputs.items():
        assert torch.equal(found.inputs[name], value), name


def test_sounds_that_a_template_drops_are_not_passed_over(folder: Path) -> None:
    renderer = loaded(folder, "sequential")._loaded.renderer  # type: ignore[attr-defined]
    template, renderer.template.source = renderer.template.source, "{% for m in messages %}Hi{% endfor %}"
    try:
        with refused("invalid_audio", match="cannot use these sounds"):
            renderer.prompt(request((LOW, "?")), [], [LOW])
    finally:
        renderer.template.source = template


@pytest.mark.parametrize("samples", [1, 80, 160])
@pytest.mark.parametrize("beside", [(), (LONG,)], ids=["alone", "beside another"])
def test_a_sound_too_short_to_be_heard_is_refused_and_not_passed_over(
    folder: Path, samples: int, beside: tuple[Samples, ...]
) -> None:
    sounds = [*beside, LOW[:samples]]
    with refused("invalid_audio", f"sounds[{len(beside)}]", match=r"nothing shorter than 10\.1 ms"):
        loaded(folder, "sequential").prepare(request([*sounds, "?"]), [], "", sounds)


def test_a_sound_is_answered_by_a_model_that_cannot_do_without_something_to_see_or_hear(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = SequentialEngine._generate

    def needy(self: SequentialEngine, row: Row) -> Finish:
        if not {"pixel_values", "input_features"} & set(row.prompt.inputs):
            raise ValueError("You have to specify pixel_values or input_features")
        return generate(self, row)

    monkeypatch.setattr(SequentialEngine, "_generate", needy)
    engine = loaded.__wrapped__(folder, "sequential")
    assert answer(engine, (LOW, "What?")).ids == alone(folder, 0)
    with pytest.raises(CallerError, match="it fails without a picture"):
        answer(engine, ("Nothing to hear.",))
