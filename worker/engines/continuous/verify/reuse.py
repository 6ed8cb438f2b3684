"""Proof at load that no answer depends on whether a part of its prompt was reused from earlier requests.

Each request of a made-up chat is answered twice: by `generate()` by itself, and on what the requests before
it left in memory. The logits of the first two tokens are compared.
"""

import sys
from collections.abc import Sequence

from shared.errors import CallerError
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.errors import CannotBatch, as_refusal
from worker.engines.continuous.prefill import CutPoints, Prefill, Prefilled
from worker.engines.continuous.prompt_content import ContentReader, PromptContent, Reusable
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.verify.cases import LogitsComparison, Part, VerifyCase, alone, ask, words
from worker.engines.loading.loaded import LoadedModel

TOKENS = 2
# From the most reuse to the least; the first wish that proves right is taken.
WISHES = (
    Reusable(beginnings=True, pictures=True, apart=True),
    Reusable(beginnings=True, pictures=True),
    Reusable(beginnings=True),
    Reusable(pictures=True, apart=True),
    Reusable(pictures=True),
)


def reusable(
    loaded: LoadedModel, seams: CutPoints, judge: LogitsComparison, cases: Sequence[VerifyCase]
) -> Reusable:
    """What later requests may reuse, tried with a chat that begins with cases[0]. `judge` is sharpened."""
    chat = _chat(loaded, cases[0])
    several = [case for case in cases if len(case.asked.pictures) > 1]
    if chat is None:
        return Reusable(flaw="no chat to try it with could be made")
    flaw = ""
    for wish in WISHES:
        rehearsal = ReuseCheck(loaded, seams, judge, wish)
        found = _flaw(rehearsal, several, chat)
        if not found:
            difference = rehearsal.difference
            return Reusable(
                wish.beginnings, wish.pictures and difference > 0, wish.apart and difference > 1, flaw
            )
        flaw = flaw or found
    return Reusable(flaw=flaw)


class ReuseCheck:
    """Holds the chat with a Reuse of its own. `told`: the most pictures told apart in one prompt."""

    def __init__(
        self, loaded: LoadedModel, seams: CutPoints, judge: LogitsComparison, wish: Reusable
    ) -> None:
        self.difference = 0
        self._network = loaded.network
        self._judge = judge
        self._reuse = ReuseCache(loaded.network, seams, sys.maxsize, wish)
        self._reader = ContentReader(loaded, wish, known_tokens=self._reuse.placeholders)

    def ask(self, case: VerifyCase) -> None:
        """Raises Refusal if the case is not answered as it is by itself."""
        content = self._content(case)
        prefilled = self._prefilled(case, content)
        self._reuse.keep(content, prefilled)
        first, second = prefilled.logits, self._row(prefilled).step(case.tokens[:1])
        for got, expected in zip((first, second), case.logits, strict=False):
            self._judge.compare(got, expected, "a prompt that is known in part is answered otherwise")
        self.difference = max(self.difference, len(content.shown))

    def answer(self, case: VerifyCase, following: VerifyCase) -> None:
        """Answer the case with the words that `following` quotes, so that this turn can reuse them."""
        content = self._content(case)
        length, row = len(content.marks), self._row(self._prefilled(case, content))
        fed = following.inputs["input_ids"][0, length : length + TOKENS].tolist()
        for token in fed:
            row.step([token])
        self._reuse.keep_answer(content, fed, lambda: row.past(0))

    def _content(self, case: VerifyCase) -> PromptContent:
        return self._reader.content(case.asked.prompt, case.asked.pictures, "")

    def _prefilled(self, case: VerifyCase, content: PromptContent) -> Prefilled:
        head = self._reuse.head(content)
        if content.shown and not (head.start or head.pictures):
            raise CannotBatch("its pictures are not encoded by themselves")
        prefill = Prefill(self._network, head, case.config, seams=self._reuse.seams)
        while (prefilled := prefill.advance()) is None:
            pass
        return prefilled

    def _row(self, prefilled: Prefilled) -> Batch:
        batch = Batch(self._network)
        batch.join(prefilled)
        return batch


def _chat(loaded: LoadedModel, first: VerifyCase) -> tuple[VerifyCase, VerifyCase, VerifyCase] | None:
    """The first case, another question about the same picture, and a turn that follows upon the first."""
    parts = [*first.asked.turns[0]]
    shown = [part for part in parts if isinstance(part, int)]
    for pictures in ([max(shown) + 1], []) if shown else ([],):
        following: list[list[Part]] = [parts, [words(2, 5)], [*pictures, words(3, 7)]]
        if not loaded.facts.has_chat_template:
            following = [[*parts, *pictures, f" {words(3, 7)}"]]
        try:
            questions = [ask(loaded, [*shown, words(4, 8)]), ask(loaded, *following)]
        except CallerError:
            continue
        if max(one.prompt.tokens for one in questions) + TOKENS <= loaded.facts.context_length:
            other, last = (alone(loaded, each, TOKENS) for each in questions)
            return first, other, last
    return None


def _flaw(
    rehearsal: ReuseCheck, several: Sequence[VerifyCase], chat: tuple[VerifyCase, VerifyCase, VerifyCase]
) -> str:
    """Why a case is not answered as it is by itself; empty if all are.

    Each request of the chat is asked twice; the second time its whole prompt is known. The prompts of
    `several` hold more than one picture, all of them new.
    """
    first, other, last = chat
    try:
        with as_refusal():
            for case in (*several, first, first):
                rehearsal.ask(case)
            rehearsal.answer(first, last)
            for case in (last, other, last, other):
                rehearsal.ask(case)
    except CannotBatch as refusal:
        return str(refusal)
    return ""
