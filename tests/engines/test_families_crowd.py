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
from tests.support.families.crowd import ROWS, Crowd, forwards, in_chunks, members
from tests.support.families.family import Family, called
from worker.engines.continuous import prefill
from worker.engines.continuous.scheduler import Pace

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BATCHED = [family for family in FAMILIES if family.name != "mllama"]
# Their states, their windows of attention, or all tokens of a prompt, would take in what lies beside them.
APART = {"paligemma", "qwen3.5", "lfm2-vl", "idefics2", "qwen2.5-vl-sliding", "gemma3", "gemma4", "llama4"}
# Their states serve only behind the token at which they were copied.
RECURRENT = {"qwen3.5", "lfm2-vl"}
# Keys and values alone, positions of pictures, states with and without windows beside them, a whole prompt.
CLONED = [NAMED[name] for name in ("llava", "qwen2.5-vl", "qwen3.5", "lfm2-vl", "gemma4", "paligemma")]


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows this short would attend all together."""
    monkeypatch.setattr("worker.engines.continuous.engine.WASTE", 16)


@pytest.fixture(autouse=True)
def few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow a step was measured to be, no prompt takes so many that rows end before others join."""
    measured = vars(Pace)["tokens"].fget
    monkeypatch.setattr(Pace, "tokens", property(lambda pace: max(128, measured(pace))))


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


@pytest.mark.parametrize("mixes", [False, True], ids=["apart", "beside steps"])
def test_prompts_that_come_at_once_share_passes_and_change_no_answer(
    subject: Subject, mixes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = subject.engine("continuous", rows=ROWS)
    flat = subject.family.name not in APART
    if flat and captured(engine):
        monkeypatch.setattr(engine._loop, "_mixes", True)
    in_chunks(monkeypatch, 9, mixes=mixes)
    shared = noted(monkeypatch, prefill, "_flat_inputs", lambda rows, *_: rows is not None)
    assert Crowd(engine, subject).at_once(members(subject), str(mixes)) == alone(subject)
    assert set(shared) == ({mixes, False} if flat else set())


def captured(engine: Any) -> bool:
    """Whether its steps are graphs, which compute no prompts."""
    return bool(engine._loop._runner.captures)


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
    assert any(one.finish.cached_tokens for one in asked) is (subject.family.name != "paligemma")
    turns = continued(asked)
    # What Llama 4 makes of several pictures cannot be taken apart: they are all reused, or none.
    apart = subject.family.name != "llama4"
    kept = [later.finish.cached_tokens >= len(before.prompt) for before, later in turns]
    assert all(kept) if apart else any(kept)
    # A prompt may begin otherwise once: LLaVA-OneVision cuts a picture otherwise where there is another.
    assert subject.family.single or len(turns) >= len(TURNS) + len(ALBUM) - 3


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
    name, content = subject.family.name, row.prompt.inputs
    # A recurrent state is kept behind the last picture, so that other questions about it go on from there.
    known = content.pause if name in RECURRENT else 0 if name == "paligemma" else row.prompt.tokens - 1
    assert known or name == "paligemma"
    assert [one.cached_tokens for one in (first, again, resumed)] == [0, known, known]
    assert again.ids == resumed.ids == first.ids


@pytest.mark.parametrize(
    "subject", [NAMED["llava"], NAMED["paligemma"], NAMED["qwen3.5"]], indirect=True, ids=called
)
def test_tokens_drawn_at_random_do_not_depend_on_what_is_known(subject: Subject) -> None:
    """Neither in a chat nor in a single question, nor where states are kept instead of columns."""
    drawn = {"seed": 7, "temperature": 1.2, "top_p": 0.9, "repetition_penalty": 1.1}
    asked = answered(subject, "drawn", **drawn)
    assert [one.changed for one in asked] == [False] * len(asked)
