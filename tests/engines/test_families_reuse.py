"""Whatever is known of a prompt already, its answer is the one it gets alone, token for token, in float32."""

from dataclasses import replace

import pytest

from tests.support.families import FAMILIES
from tests.support.families import chatting as faults
from tests.support.families.asking import BLUE, CONVERSATIONS, RED, Conversation, Subject, spot
from tests.support.families.chatting import ALBUM, TURNS, Plant, answered, continued
from tests.support.families.family import Family, called

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BATCHED = [family for family in FAMILIES if family.name != "mllama"]
NAMED = {family.name: family for family in FAMILIES}


@pytest.fixture(scope="module", params=BATCHED, ids=called)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family: Family = request.param
    return Subject(family, family.folder(tmp_path_factory.getbasetemp()))


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


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        (NAMED["llava"], faults.positions_begin_anew),
        (NAMED["llava"], faults.another_pictures_features),
        (NAMED["gemma3"], faults.columns_are_another_tokens),
        (NAMED["qwen2.5-vl"], faults.positions_count_tokens),
        (NAMED["qwen3-vl"], faults.another_pictures_features),
        (NAMED["lfm2-vl"], faults.states_begin_anew),
        (NAMED["paligemma"], faults.all_pictures_are_one),
        (NAMED["llava-onevision"], faults.all_cut_pictures_are_one),
    ],
    indirect=["subject"],
    ids=lambda value: called(value) or getattr(value, "__name__", None),
)
def test_a_fault_in_what_is_kept_would_be_noticed(
    subject: Subject, fault: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.engine("continuous", rows=4)
    fault(monkeypatch)
    assert any(one.changed for one in answered(subject, fault.__name__))
