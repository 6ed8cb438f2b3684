"""Videos behind our engines: the frames, the prompt and the answer are those of transformers alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from PIL.Image import Image as Picture
from transformers.video_utils import load_video

from shared.models import Model
from shared.request import Image, Message, Parameters, Part, Request, Text, Video
from shared.settings import VideoSettings
from tests.engines.suite import refused
from tests.support.families import NAMED
from tests.support.families.asking import RED, Subject
from tests.support.families.family import Family, called, hf
from tests.support.families.moving import GEMMA4, MOVING, QWEN2_VL, SMOLVLM
from tests.support.videos import video
from worker.engines.base import Engine, Finish, Prompt, Row, VideoFacts
from worker.engines.registry import create
from worker.fair_semaphore import Waiter
from worker.media.video_decoder import VideoDecoder

TOKENS = 8
# Of 12 frames in 3 s, and of 40 in 5 s.
SHORT, LONG = video(), video(40, 8, (48, 64), kind="mov")
Piece: TypeAlias = "str | bytes | Picture"
QUESTIONS: tuple[tuple[Piece, ...], ...] = (
    (SHORT, "What happens?"),
    (LONG, "What happens in this longer one?"),
    ("First", SHORT, "then", LONG, "?"),
    (RED, "and", SHORT),
    ("Nothing to see.",),
)
MIXED = 3
WISHES: tuple[dict[str, Any], ...] = ({}, {"num_frames": 4}, {"fps": 2.0})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@cache
def decoder() -> VideoDecoder:
    return VideoDecoder(VideoSettings())


@cache
def loaded(folder: Path, name: str) -> Engine:
    rows = 1 if name == "sequential" else 4
    return create(Model(id="tiny/watching", source=str(folder), engine=name, rows=rows)).load()


def request(pieces: Sequence[Piece], *later: str, **wish: Any) -> Request:
    """`later` are the answer and the next question."""
    parameters = Parameters(max_new_tokens=TOKENS, **wish)
    turns = (tuple(map(_part, pieces)), *((Text(text=text),) for text in later))
    messages = (Message(role=("user", "assistant")[at % 2], parts=parts) for at, parts in enumerate(turns))
    return Request(model="m", messages=tuple(messages), parameters=parameters)


def _part(piece: Piece) -> Part:
    return Text(text=piece) if isinstance(piece, str) else Video() if isinstance(piece, bytes) else Image()


def prepared(
    engine: Engine, pieces: Sequence[Piece], *later: str, scope: str | None = "mine", **wish: Any
) -> Prompt:
    asked, pictures = request(pieces, *later, **wish), [p for p in pieces if isinstance(p, Picture)]
    clips = [p for p in pieces if isinstance(p, bytes)]
    sample = partial(engine.sample, asked.parameters)
    with decoder().decode(clips, sample, Waiter("me")) as videos:
        return engine.prepare(asked, pictures, scope, (), videos)


def answer(engine: Engine, pieces: Sequence[Piece], *later: str, **wish: Any) -> Finish:
    prompt = prepared(engine, pieces, *later, **wish)
    return engine.generate(Row(prompt, request(pieces).parameters, lambda _: None, threading.Event()))


def documented(folder: Path, pieces: Sequence[Piece], **wish: Any) -> Any:
    """The inputs as transformers' documentation makes them, from files, with its own decoding by PyAV."""
    processor = plain(folder)
    kwargs = dict(wish)
    if wish:
        # Each excludes the other, and some processors have one of them by default.
        kwargs = {"num_frames": None, "fps": None, **wish}
    return processor.apply_chat_template(
        [{"role": "user", "content": [_documented(folder, at, piece) for at, piece in enumerate(pieces)]}],
        chat_template=processor.chat_template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=kwargs,
    )


def _documented(folder: Path, at: int, piece: Piece) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if isinstance(piece, Picture):
        return {"type": "image", "image": piece}
    file = folder / f"{at}.mp4"
    file.write_bytes(piece)
    return {"type": "video", "path": str(file)}


@cache
def plain(folder: Path) -> Any:
    processor = hf.AutoProcessor.from_pretrained(folder)
    reader: Any = processor.video_processor

    def fetch_videos(files: Any, sample_indices_fn: Any = None) -> Any:
        if not isinstance(files, list):
            return load_video(files, backend="pyav", sample_indices_fn=sample_indices_fn)
        return list(zip(*(fetch_videos(file, sample_indices_fn) for file in files), strict=True))

    reader.fetch_videos = fetch_videos
    return processor


@cache
def alone(family: Family, folder: Path, at: int, **wish: Any) -> tuple[int, ...]:
    with torch.inference_mode():
        return Subject(family, folder).continued(
            documented(folder, QUESTIONS[at], **wish), max_new_tokens=TOKENS, do_sample=False
        )


@pytest.mark.parametrize("wish", WISHES, ids=str)
@pytest.mark.parametrize("family", MOVING, ids=called)
def test_the_model_is_shown_the_frames_that_transformers_alone_shows_it(
    files: Path, family: Family, wish: dict[str, Any]
) -> None:
    if family is GEMMA4 and "fps" in wish:
        pytest.skip("its processor goes by a number alone")
    folder = family.folder(files)
    mine = prepared(loaded(folder, "sequential"), QUESTIONS[0], **wish).inputs
    theirs = documented(folder, QUESTIONS[0], **wish)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


@pytest.mark.parametrize("name", ["sequential", "continuous"])
@pytest.mark.parametrize("family", MOVING, ids=called)
def test_a_video_is_answered_as_transformers_alone_answers_it(files: Path, family: Family, name: str) -> None:
    folder = family.folder(files)
    engine = loaded(folder, name)
    assert engine.name == name, engine.reason
    found = [answer(engine, QUESTIONS[at], num_frames=4).ids for at in (0, 1)]
    assert found == [alone(family, folder, at, num_frames=4) for at in (0, 1)]


@pytest.mark.parametrize("family", MOVING, ids=called)
def test_videos_in_a_crowd_are_answered_as_alone(files: Path, family: Family) -> None:
    folder = family.folder(files)
    engine, crowd = loaded(folder, "continuous"), list(range(len(QUESTIONS))) * 3
    if family is SMOLVLM:
        crowd = [at for at in crowd if at != MIXED]
    with ThreadPoolExecutor(len(crowd)) as pool:
        found = list(pool.map(lambda at: answer(engine, QUESTIONS[at], num_frames=4).ids, crowd))
    assert found == [alone(family, folder, at, num_frames=4) for at in crowd]


@pytest.mark.parametrize("at", [0, 2], ids=["one", "two"])
@pytest.mark.parametrize("family", MOVING, ids=called)
def test_a_chat_about_a_video_goes_on_from_what_is_known_of_it(files: Path, family: Family, at: int) -> None:
    """And another video in its place, or other frames of it, is another question."""
    kept, alone = (loaded(family.folder(files), name) for name in ("continuous", "sequential"))
    asked = QUESTIONS[at]
    first = answer(kept, asked, scope="chat", num_frames=4)
    prompt = prepared(kept, asked, num_frames=4)
    later = first.text or "-", "And then?"
    other = tuple(LONG if piece is SHORT else piece for piece in asked)
    for shown, frames, same in ((asked, 4, True), (other, 4, False), (asked, 6, False)):
        found = answer(kept, shown, *later, scope="chat", num_frames=frames)
        assert found.ids == answer(alone, shown, *later, num_frames=frames).ids
        assert (
            found.cached_tokens >= prompt.tokens if same else found.cached_tokens <= prompt.inputs.places[0]
        )


def test_a_model_that_takes_pictures_or_videos_says_so_for_both_at_once(files: Path) -> None:
    with refused("unsupported_parameter", match="pictures or videos"):
        prepared(loaded(SMOLVLM.folder(files), "sequential"), QUESTIONS[MIXED])


def failing(monkeypatch: pytest.MonkeyPatch, *inputs: str) -> None:
    """Qwen2-VL's own code fails with these inputs together."""
    network = hf.Qwen2VLForConditionalGeneration
    generate = network.generate

    def checked(self: Any, **given: Any) -> Any:
        if given.keys() >= set(inputs):
            raise ValueError("Image features and image tokens do not match")
        return generate(self, **given)

    monkeypatch.setattr(network, "generate", checked)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("asked", "name"), [("auto", "continuous"), ("sequential", "sequential")])
def test_a_model_that_fails_with_videos_or_beside_pictures_says_so_and_is_batched_all_the_same(
    files: Path, asked: str, name: str, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GLM-4V takes each, but not both; Kimi K2.5's code takes no videos in transformers 5.23."""
    failing(monkeypatch, *["pixel_values"][: int(both)], "pixel_values_videos")
    engine = loaded.__wrapped__(QWEN2_VL.folder(files), asked)
    assert (engine.name, engine.facts.videos) == (name, both)
    if both:
        with refused("unsupported_parameter", match="This model takes pictures or videos, not both"):
            prepared(engine, QUESTIONS[MIXED])
        assert answer(engine, QUESTIONS[0]).ids


def test_a_model_without_a_video_processor_takes_none(files: Path) -> None:
    assert not loaded(NAMED["llava"].folder(files), "sequential").facts.videos
    assert loaded(QWEN2_VL.folder(files), "sequential").facts.videos


def test_of_a_long_video_few_frames_are_shown_where_the_processor_would_show_all(files: Path) -> None:
    engine = loaded(QWEN2_VL.folder(files), "sequential")
    long = VideoFacts(frames=18_000, fps=30.0, width=64, height=48)
    assert len(engine.sample(Parameters(), long)) == 32
    assert list(engine.sample(Parameters(), VideoFacts(5, 30.0, 64, 48))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("family", "wish"),
    [(QWEN2_VL, {"num_frames": 1}), (QWEN2_VL, {"num_frames": 100}), (GEMMA4, {"fps": 2.0})],
)
def test_frames_that_cannot_be_sampled_are_refused_with_what_to_send(
    files: Path, family: Family, wish: dict[str, Any]
) -> None:
    with refused("invalid_video", "videos[0]", match=r"send .*num_frames"):
        prepared(loaded(family.folder(files), "sequential"), QUESTIONS[0], **wish)
