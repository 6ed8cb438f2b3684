"""Proof at load that no answer depends on whether a part of its prompt was reused from earlier requests.

Each request of a made-up chat is answered twice: by `generate()` by itself, and on what the requests before
it left in memory. The logits of the first two tokens are compared.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from shared.errors import CallerError
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.errors import BatchingError, as_batching_error
from worker.engines.continuous.picture_slices import slices_are_exact
from worker.engines.continuous.prefill import CutPoints, Prefill, Prefilled
from worker.engines.continuous.prompt_content import ContentReader, PromptContent, Reusable
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.verify.cases import LogitsComparison, Part, VerifyCase, alone, ask, words
from worker.engines.loading.loaded import LoadedModel

TOKENS = 2
# The second sound is longer, so that the first one is filled up beside it.
SOUNDS_S = (0.4, 0.9)
# From the most reuse to the least; the first wish that proves right is taken.
WISHES = (
    Reusable(beginnings=True, pictures=True, apart=True),
    Reusable(beginnings=True, pictures=True),
    Reusable(beginnings=True),
    Reusable(pictures=True, apart=True),
    Reusable(pictures=True),
)


def reusable(
    loaded: LoadedModel, cut_points: CutPoints, judge: LogitsComparison, cases: Sequence[VerifyCase]
) -> Reusable:
    """What later requests may reuse, tried with a chat that begins with cases[0]. `judge` is sharpened."""
    chat = _chat(loaded, cases[0])
    several = [case for case in cases if len(case.asked.pictures) > 1]
    if chat is None:
        return Reusable(flaw="no chat to try it with could be made")
    flaw, exact = "", bool(chat[0].asked.pictures) and slices_are_exact(loaded)
    for wish in [replace(wish, slices=exact and wish.apart) for wish in WISHES]:
        check = ReuseCheck(loaded, cut_points, judge, wish)
        found = _flaw(check, several, chat)
        if not found:
            most = check.most_pictures
            pictures, apart = wish.pictures and most > 0, wish.apart and most > 1
            proved = replace(wish, pictures=pictures, apart=apart, flaw=flaw)
            return _with_sounds(loaded, cut_points, judge, proved)
        flaw = flaw or found
    return Reusable(flaw=flaw)


def _with_sounds(
    loaded: LoadedModel, cut_points: CutPoints, judge: LogitsComparison, proved: Reusable
) -> Reusable:
    """Whether prompts may also be continued between sounds, tried with a longer sound after a shorter one."""
    turns: tuple[list[Part], ...] = ([SOUNDS_S[0], words(5, 4)], [words(2, 5)], [SOUNDS_S[1], words(3, 7)])
    if not (proved.beginnings and loaded.renderer.sound_input.rate):
        return proved
    try:
        with as_batching_error("a made-up sound fails: "):
            chat = _answered(loaded, turns[:1], turns)
    except BatchingError as refusal:
        return replace(proved, flaw=proved.flaw or str(refusal))
    if chat is None:
        return proved
    wish = replace(proved, sounds=True)
    flaw = _flaw(ReuseCheck(loaded, cut_points, judge, wish), (), (chat[0], *chat))
    return replace(proved, flaw=proved.flaw or flaw) if flaw else wish


class ReuseCheck:
    """Holds the chat with a ReuseCache of its own. `most_pictures`: as many were told apart in one prompt."""

    def __init__(
        self, loaded: LoadedModel, cut_points: CutPoints, judge: LogitsComparison, wish: Reusable
    ) -> None:
        self.most_pictures = 0
        self._network = loaded.network
        self._judge = judge
        self._reuse = ReuseCache(loaded, cut_points, sys.maxsize, wish)
        self._reader = ContentReader(loaded, wish, known_tokens=self._reuse.placeholders)

    def ask(self, case: VerifyCase) -> None:
        """Raises BatchingError if the case is not answered as it is by itself."""
        content = self._content(case)
        prefilled = self._prefilled(case, content)
        self._reuse.keep(content, prefilled)
        first, second = prefilled.logits, self._row(prefilled).step(case.tokens[:1])
        for got, expected in zip((first, second), case.logits, strict=False):
            self._judge.compare(got, expected, "a prompt that is known in part is answered otherwise")
        self.most_pictures = max(self.most_pictures, len(content.shown))

    def answer(self, case: VerifyCase, following: VerifyCase) -> None:
        """Answer the case with the words that `following` quotes, so that this turn can reuse them."""
        content = self._content(case)
        length, row = len(content.marks), self._row(self._prefilled(case, content))
        fed = following.inputs["input_ids"][0, length : length + TOKENS].tolist()
        for token in fed:
            row.step([token])
        self._reuse.keep_answer(content, fed, lambda: row.past(0))

    def _content(self, case: VerifyCase) -> PromptContent:
        asked = case.asked
        return self._reader.content(asked.prompt, asked.pictures, "", asked.sounds)

    def _prefilled(self, case: VerifyCase, content: PromptContent) -> Prefilled:
        head = self._reuse.head(content)
        if content.shown and not (head.start or head.pictures):
            raise BatchingError("its pictures are not encoded by themselves")
        prefill = Prefill(self._network, head, case.config, cut_points=self._reuse.cut_points)
        while (prefilled := prefill.advance()) is None:
            pass
        return prefilled

    def _row(self, prefilled: Prefilled) -> Batch:
        batch = Batch(self._network)
        batch.join(prefilled)
        return batch


def _chat(loaded: LoadedModel, first: VerifyCase) -> Sequence[VerifyCase] | None:
    """The first case, another question about the same picture, and turns that follow upon the first.

    A third turn is tried, too, if the model takes it: some processors cut pictures otherwise beside others.
    """
    parts = [*first.asked.turns[0]]
    shown = [part for part in parts if isinstance(part, int)]
    other: list[Part] = [*shown, words(4, 8)]
    for new in ([max(shown) + 1], []) if shown else ([],):
        turns: list[list[Part]] = [parts, [words(2, 5)], [*new, words(3, 7)]]
        third: list[list[Part]] = [*turns, [words(6, 5)], [*(one + 1 for one in new), words(1, 4)]]
        if loaded.facts.has_chat_template:
            chat = _answered(loaded, [other], turns, third) or _answered(loaded, [other], turns)
        else:
            chat = _answered(loaded, [other], [[*parts, *new, f" {words(3, 7)}"]])
        if chat is not None:
            return first, *chat
    return None


def _answered(loaded: LoadedModel, *chats: Sequence[Sequence[Part]]) -> Sequence[VerifyCase] | None:
    """The chats with their answers; None if the model does not take one of them."""
    try:
        asked = [ask(loaded, *turns) for turns in chats]
    except CallerError:
        return None
    if max(one.prompt.tokens for one in asked) + TOKENS > loaded.facts.context_length:
        return None
    return [alone(loaded, one, TOKENS) for one in asked]


def _flaw(check: ReuseCheck, several: Sequence[VerifyCase], chat: Sequence[VerifyCase]) -> str:
    """Why a case is not answered as it is by itself; empty if all are.

    Each request of the chat is asked twice; the second time its whole prompt is known. The prompts of
    `several` hold more than one picture, all of them new.
    """
    first, other, *turns = chat
    try:
        with as_batching_error():
            for case in (*several, first, first):
                check.ask(case)
            for before, case in pairwise((first, *turns)):
                check.answer(before, case)
                for each in (case, other, case, other):
                    check.ask(each)
    except BatchingError as refusal:
        return str(refusal)
    return ""
