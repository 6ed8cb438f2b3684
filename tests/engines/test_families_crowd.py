"""Beside others, and on what is known of a prompt already, every family answers as alone, token for token."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from shared.errors import ModelFailed
from tests.engines.continuous.conftest import noted
from tests.support.families import FAMILIES, NAMED
from tests.support.families.asking import BLUE, CONVERSATIONS, RED, Conversation, Subject, spot
from tests.support.families.chatting import ALBUM, TURNS, answered, continued
from tests.support.families.crowd import ROWS, Crowd, forwards, members
from tests.support.families.family import Family, called
from worker.engines.continuous import shared_pass
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.mixed_pass import MixedPass
from worker.engines.continuous.token_budget import PassLimits, PrefillPace

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BATCHED = [family for family in FAMILIES if family.name != "mllama"]
# Their states, or all tokens of a prompt, would take in what fills up a shorter row.
ONE_BY_ONE = {"paligemma", "qwen3.5", "lfm2-vl"}
# Their windows of attention are the model's to say.
APART_FROM_STEPS = {*ONE_BY_ONE, "idefics2", "qwen2.5-vl-sliding", "gemma3", "gemma4", "llama4"}
WAYS = {"whole": (None, 1), "in chunks": (9, 1), "filled chunks": (9, 8), "filled up": (None, 8)}
# Each family by the way that asks most of it; plain, three-dimensional and windowed positions by all of them.
TOGETHER = [(family, "in chunks") for family in BATCHED] + [
    (NAMED[name], way) for name in ("llava", "qwen2.5-vl", "gemma4") for way in WAYS if way != "in chunks"
]
# Of those that stay apart, one that shares passes and one that does not.
BESIDE_STEPS = [f for f in BATCHED if f.name not in APART_FROM_STEPS] + [NAMED["gemma4"], NAMED["lfm2-vl"]]
# Keys and values alone, positions of pictures, states with and without windows beside them, a whole prompt.
CLONED = [NAMED[name] for name in ("llava", "qwen2.5-vl", "qwen3.5", "lfm2-vl", "gemma4", "paligemma")]


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows this short would attend all together."""
    monkeypatch.setattr("worker.engines.continuous.engine.WASTE", 16)


@pytest.fixture(autouse=True)
def few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow a step was measured to be, no prompt takes so many that rows end before others join."""
    measured = vars(PrefillPace)["chunk"].fget
    monkeypatch.setattr(PrefillPace, "chunk", property(lambda pace: max(128, measured(pace))))


@pytest.fixture(scope="module", params=BATCHED, ids=called)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family: Family = request.param
    return Subject(family, family.folder(tmp_path_factory.getbasetemp()))


@cache
def alone(subject: Subject) -> list[tuple[int, ...]]:
    """What each member is answered by itself."""
    engine = subject.engine()
    return [
        engine.generate(subject.row(engine, m.conversation, **m.parameters)).ids for m in members(subject)
    ]


def beside_others(subject: Subject, name: str = "continuous") -> tuple[list[int], int]:
    """Which members of the crowd got another answer than alone, and the most rows that computed at once."""
    crowd, expected = members(subject), alone(subject)
    engine = subject.engine(name, rows=ROWS)
    with forwards(subject) as rows:
        answers = Crowd(engine, subject).ask(crowd)
    assert [m.leaves for m in crowd] == [got is None for got in answers]
    pairs = enumerate(zip(answers, expected, strict=True))
    return [number for number, (got, want) in pairs if got not in (None, want)], max(rows)


def test_a_crowd_changes_no_answer(subject: Subject) -> None:
    changed, together = beside_others(subject)
    assert changed == []
    assert together >= 3
    engine: Any = subject.engine("continuous", rows=ROWS)
    apart = subject.family.name in APART_FROM_STEPS or captured(engine)
    assert engine._loop._prefilling.mixes is not apart


def captured(engine: Any) -> bool:
    """Whether its steps are graphs, which compute no prompts."""
    return engine._loop._running._batch._captured is not None


@pytest.mark.parametrize(("subject", "way"), TOGETHER, indirect=["subject"], ids=called)
def test_prompts_that_come_at_once_share_passes_and_change_no_answer(
    subject: Subject, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, (chunk, grain) = subject.engine("continuous", rows=ROWS), WAYS[way]
    assert isinstance(engine, ContinuousEngine)
    monkeypatch.setattr(engine._loop._prefilling, "_grain", grain)
    shared = noted(
        monkeypatch,
        shared_pass,
        "advance",
        lambda prefills, _, width: len(prefills) > 1 or width % grain == 0,
    )
    monkeypatch.setattr(PrefillPace, "mixes", lambda *_: False)
    monkeypatch.setattr(
        PrefillPace, "limits", lambda *_, **__: PassLimits(tokens=4096, idle=4096, chunk=chunk)
    )
    assert Crowd(engine, subject).at_once(members(subject), way) == alone(subject)
    assert all(shared)
    assert bool(shared) is (subject.family.name not in ONE_BY_ONE)


@pytest.mark.parametrize("subject", BESIDE_STEPS, indirect=True, ids=called)
def test_prompts_that_steps_take_along_change_no_answer(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = subject.engine("continuous", rows=ROWS)
    if captured(engine):
        monkeypatch.setattr(engine._loop._prefilling, "mixes", subject.family.name not in APART_FROM_STEPS)

    chunks = noted(monkeypatch, MixedPass, "inputs")
    limits = {True: PassLimits(tokens=5, idle=0, chunk=5, sequences=3), False: PassLimits(tokens=1, idle=0)}
    monkeypatch.setattr(PrefillPace, "limits", lambda _, *, hurried: limits[hurried])
    monkeypatch.setattr(PrefillPace, "mixes", lambda *_: True)
    monkeypatch.setattr(PrefillPace, "lasts", lambda _: False)
    assert Crowd(engine, subject).at_once(members(subject), "beside steps") == alone(subject)
    assert bool(chunks) is (subject.family.name not in APART_FROM_STEPS)


@pytest.mark.parametrize("subject", CLONED, indirect=True, ids=called)
def test_several_answers_to_one_prompt_are_those_it_gets_one_by_one(subject: Subject) -> None:
    drawn = {"seed": 3, "temperature": 1.2, "top_p": 0.9, "repetition_penalty": 1.1}
    got = []
    for engine in (subject.engine("continuous", rows=ROWS), subject.engine()):
        row = subject.row(engine, CONVERSATIONS[1], **drawn)
        rows = [replace(row, parameters=row.parameters.of_choice(number)) for number in range(3)]
        got.append([finish.ids for finish in engine.generate_all(rows)])
    assert got[0] == got[1]
    assert len(set(got[0])) > 1


@pytest.mark.parametrize("subject", [NAMED["mllama"]], indirect=True, ids=called)
def test_a_model_that_cannot_be_batched_is_served_alone_and_says_why(subject: Subject) -> None:
    engine = subject.engine("auto", rows=ROWS)
    assert (engine.name, engine.rows) == ("sequential", 1)
    assert "not continuous: " in engine.reason
    assert beside_others(subject, "auto") == ([], 1)
    with pytest.raises(ModelFailed, match="tiny/mllama"):
        subject.engine("continuous", packed=False)


def test_what_begins_alike_is_answered_as_alone_and_a_chat_goes_on_from_its_last_turn(
    subject: Subject,
) -> None:
    asked = answered(subject, "alike")
    assert [one.changed for one in asked] == [False] * len(asked)
    assert any(one.finish.cached_tokens for one in asked)
    turns = continued(asked)
    assert all(later.finish.cached_tokens >= len(before.prompt) for before, later in turns)
    # A prompt may begin otherwise once: LLaVA-OneVision cuts a picture otherwise where there is another.
    assert subject.family.raw or len(turns) >= len(TURNS) + len(ALBUM) - 3


@pytest.mark.parametrize(
    "subject", [NAMED["llava"], NAMED["paligemma"], NAMED["mistral3"]], indirect=True, ids=called
)
def test_pictures_in_another_order_or_number_are_another_question(subject: Subject) -> None:
    """Nothing stands between the pictures of the first two, so a name for all of them has to tell."""
    alone, engine = subject.engine(), subject.engine("continuous", rows=4)
    for shown in (
        (RED, RED, BLUE),
        (RED, BLUE, BLUE),
        (RED, BLUE, RED),
        (BLUE, BLUE, RED),
        (BLUE, RED, BLUE),
    ):
        about = Conversation("", ((*shown, "What?"),))
        expected = alone.generate(subject.row(alone, about))
        assert engine.generate(subject.row(engine, about, "orders")).ids == expected.ids


@pytest.mark.parametrize("subject", [NAMED["mistral3"]], indirect=True, ids=called)
def test_a_picture_that_a_model_encodes_beside_others_only_is_answered_as_alone(subject: Subject) -> None:
    """One of a single token, which transformers 5.23 squeezes out of its batch."""
    alone, engine = subject.engine(), subject.engine("continuous", rows=4)
    about = Conversation("", ((spot("red", (1, 1)), BLUE, "What?"),))
    expected = alone.generate(subject.row(alone, about))
    assert engine.generate(subject.row(engine, about, "icon")).ids == expected.ids


def test_a_prompt_that_is_known_is_not_computed_also_where_an_interrupted_answer_goes_on(
    subject: Subject,
) -> None:
    engine, about = subject.engine("continuous", rows=4), CONVERSATIONS[2]
    row = subject.row(engine, about, "again")
    first, again = engine.generate(row), engine.generate(subject.row(engine, about, "again"))
    resumed = engine.generate(replace(row, published=first.ids[:7]))
    assert [one.cached_tokens for one in (first, again, resumed)] == [0, *[row.prompt.tokens] * 2]
    assert again.ids == resumed.ids == first.ids


@pytest.mark.parametrize(
    "subject", [NAMED["llava"], NAMED["paligemma"], NAMED["qwen3.5"]], indirect=True, ids=called
)
def test_tokens_drawn_at_random_do_not_depend_on_what_is_known(subject: Subject) -> None:
    """Neither in a chat nor in a bare prompt, nor where states are kept instead of columns."""
    drawn = {"seed": 7, "temperature": 1.2, "top_p": 0.9, "repetition_penalty": 1.1}
    asked = answered(subject, "drawn", **drawn)
    assert [one.changed for one in asked] == [False] * len(asked)
