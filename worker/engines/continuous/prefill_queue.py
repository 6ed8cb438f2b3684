"""The prompts being computed, in their order of arrival, and the choice of those that share a pass."""

import sys
from copy import copy
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from worker.engines.continuous import shared_pass
from worker.engines.continuous.adaptive_limit import AdaptiveLimit
from worker.engines.continuous.prefill import Prefill, Prefilled
from worker.engines.continuous.sequence import SequenceGroup, TokenSequence
from worker.engines.continuous.token_budget import SMALLEST, PassLimits

# Masked columns that rows with few computed tokens may attend over to share a pass with a row that has more.
HOLE = 256


@dataclass(frozen=True, eq=False)
class PrefillingSequence:
    """An answer whose prompt is prepared, or computed in part."""

    answer: TokenSequence
    prefill: Prefill


@dataclass(frozen=True)
class Pass:
    """Sequences computed together up to `ends`; a single one is padded to a multiple of `grain` tokens."""

    sequences: list[PrefillingSequence]
    ends: list[int]
    grain: int

    @property
    def answers(self) -> list[TokenSequence]:
        return [sequence.answer for sequence in self.sequences]

    @property
    def tokens(self) -> int:
        """Tokens that the pass computes, padding included; to be read before `compute`."""
        return len(self.ends) * self._width

    @property
    def idle(self) -> int:
        """How many of the `tokens` are padding."""
        return self.tokens - sum(self._lengths)

    @property
    def joint(self) -> bool:
        """Whether several rows share the pass, or a single one is padded."""
        return self._lengths != [self._width]

    def compute(self) -> list[Prefilled | None]:
        """Compute the pass; None for a prompt that is not complete. Raises what the model raises on any."""
        prefills = [sequence.prefill for sequence in self.sequences]
        if self.joint:
            return shared_pass.advance(prefills, self.ends, self._width)
        return [prefills[0].advance(self._width)]

    @property
    def _width(self) -> int:
        longest, first = max(self._lengths), self.sequences[0]
        lone = len(self.ends) == 1 and self.grain > 1
        fills = lone and first.prefill.joins(first.prefill) and not first.answer.apart
        return shared_pass.filled(longest, self.grain) if fills else longest

    @property
    def _lengths(self) -> list[int]:
        return [end - one.prefill.done for one, end in zip(self.sequences, self.ends, strict=True)]


@dataclass(frozen=True)
class Chunk:
    """A part of a sequence's prompt, up to `end`, that is computed in the pass of a step."""

    sequence: PrefillingSequence
    end: int

    @property
    def tokens(self) -> int:
        return self.end - self.sequence.prefill.done


@dataclass(frozen=True)
class ForkedPrefill:
    """A prompt that was computed for one answer, while siblings of it still wait for room in the batch."""

    siblings: SequenceGroup
    prefill: Prefill
    prefilled: Prefilled


class PrefillQueue:
    """The sequences in their order; at most `rows` of them share a pass."""

    def __init__(self, rows: int, grain: int = 1, *, mixes: bool = False) -> None:
        """`mixes`: whether steps may compute chunks in their pass."""
        self.sequences: list[PrefillingSequence] = []
        self.mixes = mixes
        self.forked: ForkedPrefill | None = None
        self._grain = grain
        self._rows = AdaptiveLimit(rows, doubles=True)
        self._tokens = AdaptiveLimit(sys.maxsize, doubles=True)
        self._before = WeakKeyDictionary[TokenSequence, AdaptiveLimit]()
        """How long passes were allowed to be before they were halved for an answer's prompt."""

    @property
    def rows(self) -> int:
        return self._rows.now

    @property
    def longest(self) -> int | None:
        """The most tokens of a pass, where memory ran out in a longer one."""
        return None if self._tokens.now == self._tokens.most else self._tokens.now

    @property
    def answers(self) -> list[TokenSequence]:
        return [sequence.answer for sequence in self.sequences]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences' prompts that are left to compute."""
        return sum(sequence.prefill.length - sequence.prefill.done for sequence in self.sequences)

    def add(self, answer: TokenSequence, prefill: Prefill) -> None:
        self.sequences.append(PrefillingSequence(answer, prefill))

    def shrink(self, rows: int) -> None:
        """Memory ran out in a pass that more prompts shared."""
        self._rows.shrink(rows)

    def lasted(self, rows: int, tokens: int) -> None:
        """Memory lasted for a pass over so many prompts, and over so many tokens of them."""
        self._rows.lasted(rows)
        self._tokens.lasted(tokens)

    def shorten(self, failed: Pass) -> bool:
        """Halve passes for want of memory; False if the failed one cannot be any shorter.

        Then it is not the passes that are too long, and those of other prompts may be as long as before.
        """
        sequence, longest = failed.sequences[0], min(failed.tokens, self.longest or failed.tokens) // 2
        before = self._before.setdefault(sequence.answer, copy(self._tokens))
        prefill = sequence.prefill
        can = longest >= SMALLEST and prefill.end(SMALLEST) - prefill.done < failed.tokens
        if can:
            self._tokens.shrink(longest)
        else:
            self._tokens = before
        return can

    def remove(self, answer: TokenSequence) -> None:
        self.sequences = [sequence for sequence in self.sequences if sequence.answer is not answer]

    def forget(self, siblings: SequenceGroup) -> None:
        """Drop the prompt kept for these siblings."""
        if self.forked is not None and self.forked.siblings is siblings:
            self.forked = None

    def clear(self) -> list[TokenSequence]:
        answers, self.sequences, self.forked = self.answers, [], None
        return answers

    def next(self, limits: PassLimits) -> Pass:
        """A pass over the first sequence and as many others as the limits allow."""
        first, *others = self.sequences
        chosen = Pass([first], [self._end(first.prefill, limits)], self._grain)
        for other in others:
            # The limit is split evenly, so that another chunk fits beside the first, if only a smaller one.
            each = limits.chunk and min(limits.chunk, limits.tokens // (len(chosen.ends) + 1))
            end = other.prefill.end(self._aligned(each))
            more = Pass([*chosen.sequences, other], [*chosen.ends, end], self._grain)
            if len(more.ends) <= self.rows and _fits(more, limits):
                chosen = more
        return chosen

    def chunks(self, tokens: int, rows: int) -> list[Chunk]:
        """Chunks of about `tokens` in all for the pass of a step of so many `rows`, in order of arrival."""
        chosen = list[Chunk]()
        remaining = shared_pass.filled(rows + max(1, tokens), self._grain) - rows
        for sequence in self.sequences:
            first = chosen[0].sequence if chosen else sequence
            if remaining <= 0 or sequence.answer.apart or not sequence.prefill.joins(first.prefill):
                break
            chunk = Chunk(sequence, sequence.prefill.end(remaining))
            # A prompt whose next possible cut is too far away waits until it is the first.
            if len(chosen) == self.rows or (chosen and chunk.tokens > remaining):
                break
            chosen.append(chunk)
            remaining -= chunk.tokens
        return chosen

    def _end(self, prefill: Prefill, limits: PassLimits) -> int:
        end = prefill.end(self._aligned(limits.chunk))
        return prefill.length if prefill.length - end <= limits.scraps else end

    def _aligned(self, tokens: int | None) -> int | None:
        """`tokens` rounded to a multiple of the grain, so that nothing is padded; None stays None."""
        return tokens and max(self._grain, tokens // self._grain * self._grain)


def _fits(together: Pass, limits: PassLimits) -> bool:
    first, *_, last = prefills = [sequence.prefill for sequence in together.sequences]
    starts = [prefill.done for prefill in prefills]
    return (
        first.joins(last)
        and together.tokens <= limits.tokens
        and together.idle <= limits.idle
        and max(starts) - min(starts) <= HOLE
    )
