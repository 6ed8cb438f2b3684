"""The beginnings of prompts that are kept for reuse, as a tree: what several have in common is stored once.

A branch ends where prompts diverge. Keys and values can be reused up to any token, a recurrent state only at
the token after which it was copied: models that have such states continue from there or not at all."""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import torch

from worker.engines.continuous.adaptive_limit import AdaptiveLimit
from worker.engines.continuous.kv_slices import Columns, KVSlices, RecurrentState, cut, joined, size

# The memory limit of what is kept for reuse; when it is full, the least recently used item goes first.


class BudgetEntry(Protocol):
    """Something that costs memory and may be dropped at any time."""

    @property
    def bytes(self) -> int: ...

    def drop(self) -> None:
        """Remove it from where it is kept; the ledger no longer counts it."""


class ReuseBudget:
    """Keeps the order of use and the sum of bytes, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._ration = AdaptiveLimit(limit, doubles=True)
        # A dictionary keeps its order: the first was used longest ago.
        self._sizes: dict[BudgetEntry, int] = {}

    @property
    def limit(self) -> int:
        return self._ration.now

    def use(self, entries: Iterable[BudgetEntry]) -> None:
        """Mark items as just used, in their order; new ones are counted from now on."""
        for item in entries:
            self._strike(item)
            self.weigh(item)

    def weigh(self, item: BudgetEntry) -> None:
        """Update its size without marking it as used."""
        self.bytes += item.bytes - self._sizes.get(item, 0)
        self._sizes[item] = item.bytes

    def room(self, more: int, spared: Collection[BudgetEntry] = ()) -> bool:
        """Make room for `more` bytes; False if they do not fit without dropping what is `spared`."""
        self._ration.lasted(self.bytes + more)
        if more > self.limit - sum(item.bytes for item in spared):
            return False
        while self.bytes + more > self.limit:
            stalest = next(iter(self._sizes))
            if stalest in spared:
                return False
            self._drop(stalest)
        return True

    def halve(self) -> None:
        """Memory ran out: drop everything, and keep at most half as much until it has lasted again."""
        self.clear()
        self._ration.shrink(self.limit // 2)

    def clear(self) -> None:
        """Drop everything."""
        for item in list(self._sizes):
            self._drop(item)

    def _drop(self, item: BudgetEntry) -> None:
        self._strike(item)
        item.drop()

    def _strike(self, item: BudgetEntry) -> None:
        self.bytes -= self._sizes.pop(item, 0)


Mark = int | tuple[str, int]
"""A token of a prompt: its id, or for a placeholder its picture's name and its index within that picture."""


@dataclass(frozen=True)
class PrefixEnd:
    """What is known after a branch's last token: states, and after a whole prompt logits [1, vocabulary]."""

    states: tuple[RecurrentState, ...]
    logits: torch.Tensor | None

    @property
    def bytes(self) -> int:
        own = 0 if self.logits is None else self.logits.nbytes
        return own + sum(state.bytes for state in self.states)


Branches = dict[Hashable, "PrefixNode"]


@dataclass(eq=False)
class PrefixNode:
    """Consecutive tokens with their columns; `siblings` holds the branch under `key`."""

    siblings: Branches
    key: Hashable
    marks: tuple[Mark, ...]
    columns: tuple[Columns, ...]
    end: PrefixEnd | None = None
    branches: Branches = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return size(self.columns) + (self.end.bytes if self.end else 0)

    def drop(self) -> None:
        del self.siblings[self.key]


@dataclass(frozen=True)
class CachedPrefix:
    """What is kept of a prompt's first `tokens`; with logits if these are the whole prompt."""

    tokens: int
    past: KVSlices
    logits: torch.Tensor | None = None


class PrefixTree:
    """The tree; what is kept for one scope is never found for another."""

    def __init__(self, ledger: ReuseBudget) -> None:
        self._ledger = ledger
        # By scope and first token.
        self._roots: Branches = {}
        self._stateful = False

    def cached_length(self, scope: Hashable, marks: Sequence[Mark]) -> int:
        """How many of the first tokens are kept."""
        return self._walk(scope, marks)[1]

    def shared(self, marks: Sequence[Mark], other: Sequence[Mark]) -> int:
        """How many of the first tokens will be known once `other` is kept."""
        common = _common(marks, other)
        return 0 if self._stateful and common < len(other) else common

    def find(
        self, scope: Hashable, marks: Sequence[Mark], allows: Callable[[int], bool]
    ) -> CachedPrefix | None:
        """A copy of the longest beginning kept; `allows(at)` says whether the prompt may be cut there."""
        path, matched = self._walk(scope, marks)
        # A trunk always counts as used after its branches, so the ledger drops it only after them.
        self._ledger.use(reversed(path))
        end = path[-1].end if path and matched == _length(path) == len(marks) else None
        if end and end.logits is not None:
            return CachedPrefix(matched, KVSlices(_columns(path, matched), end.states), end.logits)
        last = min(matched, len(marks) - 1)
        if self._stateful:
            return _at_an_end(path, last, allows)
        tokens = next((at for at in range(last, 0, -1) if allows(at)), 0)
        return CachedPrefix(tokens, KVSlices(_columns(path, tokens))) if tokens else None

    def keep(
        self, scope: Hashable, marks: Sequence[Mark], past: KVSlices, logits: torch.Tensor | None = None
    ) -> None:
        """Copy what is not kept yet, if there is room for it."""
        self._stateful = bool(past.states)
        path, matched = self._walk(scope, marks)
        end = PrefixEnd(past.states, logits) if past.states or logits is not None else None
        new = size(past.columns) * (len(marks) - matched) // len(marks) + (end.bytes if end else 0)
        if matched < _length(path):
            self._split(path, matched - _length(path[:-1]))
        self._ledger.use(reversed(path))
        if not self._ledger.room(new, path):
            return
        if matched < len(marks):
            siblings = path[-1].branches if path else self._roots
            key = marks[matched] if path else (scope, marks[0])
            columns = cut(past.columns, matched, len(marks))
            siblings[key] = PrefixNode(siblings, key, tuple(marks[matched:]), columns)
            path.append(siblings[key])
        if end and (path[-1].end is None or path[-1].end.logits is None):
            path[-1].end = end
        self._ledger.use(reversed(path))

    def _walk(self, scope: Hashable, marks: Sequence[Mark]) -> tuple[list[PrefixNode], int]:
        """The branches along `marks`, and how many marks match; the last branch may diverge midway."""
        path, matched = list[PrefixNode](), 0
        branches: Branches = self._roots
        key: Hashable = (scope, marks[0])
        while branch := branches.get(key):
            path.append(branch)
            common = _common(branch.marks, marks[matched : matched + len(branch.marks)])
            matched += common
            if common < len(branch.marks) or matched == len(marks):
                break
            branches, key = branch.branches, marks[matched]
        return path, matched

    def _split(self, path: list[PrefixNode], at: int) -> None:
        """Split the path's last branch, so that the path ends after that branch's first `at` tokens."""
        rest = path.pop()
        front = PrefixNode(rest.siblings, rest.key, rest.marks[:at], cut(rest.columns, 0, at))
        rest.columns = cut(rest.columns, at, len(rest.marks))
        front.siblings[front.key] = front
        rest.siblings, rest.key, rest.marks = front.branches, rest.marks[at], rest.marks[at:]
        front.branches[rest.key] = rest
        path.append(front)
        self._ledger.weigh(rest)
        self._ledger.use([front])


def _at_an_end(path: Sequence[PrefixNode], last: int, allows: Callable[[int], bool]) -> CachedPrefix | None:
    """The last branch end with states that is not after token `last`."""
    behind = list(accumulate(len(branch.marks) for branch in path))
    for at, branch in reversed(list(zip(behind, path, strict=True))):
        if at <= last and branch.end and branch.end.states and allows(at):
            return CachedPrefix(at, KVSlices(_columns(path, at), branch.end.states))
    return None


def _length(path: Sequence[PrefixNode]) -> int:
    return sum(len(branch.marks) for branch in path)


def _columns(path: Sequence[PrefixNode], tokens: int) -> tuple[Columns, ...]:
    pieces, remaining = [], tokens
    for branch in path:
        if remaining > 0:
            pieces.append(
                [(keys[:, :, :remaining], values[:, :, :remaining]) for keys, values in branch.columns]
            )
        remaining -= len(branch.marks)
    return joined(pieces)


def _common(mine: Sequence[Mark], theirs: Sequence[Mark]) -> int:
    """How many of the first marks are the same."""
    if mine == theirs:
        return len(mine)
    pairs = enumerate(zip(mine, theirs, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(mine), len(theirs)))
