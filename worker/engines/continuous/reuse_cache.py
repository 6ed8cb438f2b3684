"""What earlier requests leave in memory for later ones of the same scope: beginnings of prompts and answers.

Nothing is shared between scopes, so that no caller can tell from an answer's time what another caller asked.
What several beginnings have in common is stored once: the second hangs on the first, at the token where the
two diverge. Keys and values can be reused up to any token, a recurrent state only at the token after which it
was copied: models that have such states continue from there or not at all.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.continuous.kv_cache import KeysValues, Past
from worker.engines.continuous.prefill import CutPoints, KnownPrompt, Prefill
from worker.engines.continuous.prompt_content import SHOWN, Mark, PromptContent, encoder_inputs
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.torch_errors import UNFIT, device_broken

log = logging.getLogger("worker.engines.continuous")

# A prompt waits for another one's beginning only if that saves it this many tokens.
WORTH = 16
# Tokens of a node: what several share outlives the rest of the prompt that brought it, but for so many.
SEGMENT = 256


@dataclass(frozen=True, eq=False)
class PrefixNode:
    """Consecutive tokens with copies of their columns, and of the states after the last one."""

    marks: tuple[Mark, ...]
    past: Past

    @property
    def bytes(self) -> int:
        columns = sum(keys.nbytes + values.nbytes for keys, values in self.past.columns)
        return columns + sum(state.bytes for state in self.past.states)


Path = list[tuple[Any, PrefixNode, int]]
"""Keys and nodes from the root, and how many marks of each match; below a node that matches in part hangs
what diverges from it there.
"""


class PrefixTree:
    """At most `limit` bytes; what was used least recently goes first, a branch's end before its beginning."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        # By the node that it hangs on or the scope, the number of that one's marks before it, and its first
        # mark.
        self._nodes = OrderedDict[Any, PrefixNode]()

    def known(self, scope: str, marks: Sequence[Mark]) -> int:
        """How many of the first tokens are kept."""
        return sum(used for *_, used in self._walk(scope, marks))

    def find(
        self, scope: str, marks: Sequence[Mark], allows: Callable[[int], bool]
    ) -> tuple[int, Past] | None:
        """A copy of the longest beginning that is kept, shorter than all; `allows(at)`: it may end there."""
        path = self._walk(scope, marks)
        self._use(path)
        matched = sum(used for *_, used in path)
        if path and path[0][1].past.states:
            return _at_an_end(path, len(marks) - 1, allows)
        at = next((at for at in range(min(matched, len(marks) - 1), 0, -1) if allows(at)), 0)
        return (at, Past(_columns(path, at))) if at else None

    def keep(self, scope: str, marks: tuple[Mark, ...], past: Past) -> None:
        """Copy what is not kept yet, as far as there is room for it."""
        path = self._walk(scope, marks)
        self._use(path)
        parent, at = (path[-1][1], path[-1][2]) if path else (scope, 0)
        length = len(marks) if past.states else SEGMENT
        token_bytes = sum(x.nbytes for pair in past.columns for x in pair) // len(marks)
        for start in range(sum(used for *_, used in path), len(marks), length):
            own = slice(start, min(start + length, len(marks)))
            size = token_bytes * (own.stop - start) + sum(state.bytes for state in past.states)
            if not self._room(size, [node for _, node, _ in path]):
                break
            columns = [(keys[:, :, own].clone(), values[:, :, own].clone()) for keys, values in past.columns]
            node = PrefixNode(marks[own], Past(tuple(columns), past.states))
            key = (parent, at, marks[start])
            self._nodes[key] = node
            self.bytes += node.bytes
            parent, at = node, len(node.marks)
            path.append((key, node, at))
        # A trunk counts as used after its branches, so that it goes after them.
        self._use(path)

    def clear(self) -> None:
        self._nodes.clear()
        self.bytes = 0

    def _walk(self, scope: str, marks: Sequence[Mark]) -> Path:
        path, matched = Path(), 0
        parent: Any = scope
        at = 0
        while matched < len(marks) and (node := self._nodes.get(key := (parent, at, marks[matched]))):
            parent, at = node, common(node.marks, marks[matched : matched + len(node.marks)])
            path.append((key, node, at))
            matched += at
        return path

    def _use(self, path: Path) -> None:
        for key, *_ in reversed(path):
            self._nodes.move_to_end(key)

    def _room(self, more: int, spared: Sequence[PrefixNode]) -> bool:
        while self.bytes + more > self.limit:
            stalest = next(iter(self._nodes), None)
            if stalest is None or self._nodes[stalest] in spared:
                return False
            self.bytes -= self._nodes.pop(stalest).bytes
        return True


def common(mine: Sequence[Mark], theirs: Sequence[Mark]) -> int:
    """How many of the first marks are the same."""
    if mine == theirs:
        return len(mine)
    pairs = enumerate(zip(mine, theirs, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(mine), len(theirs)))


def _at_an_end(path: Path, most: int, allows: Callable[[int], bool]) -> tuple[int, Past] | None:
    """The last end of a node that is not after token `most`."""
    found, at = None, 0
    for _, node, used in path:
        at += used
        if used == len(node.marks) and at <= most and allows(at):
            found = at, node.past.states
    return found and (found[0], Past(_columns(path, found[0]), found[1]))


def _columns(path: Path, tokens: int) -> tuple[KeysValues, ...]:
    pieces, remaining = [], tokens
    for _, node, used in path:
        count = min(used, remaining)
        if count > 0:
            pieces.append([(keys[:, :, :count], values[:, :, :count]) for keys, values in node.past.columns])
        remaining -= used
    return tuple(
        (torch.cat([keys for keys, _ in layer], dim=2), torch.cat([values for _, values in layer], dim=2))
        for layer in zip(*pieces, strict=True)
    )


class ReuseCache:
    """Keeps at most `limit` bytes; `hits` counts prompts of which a part was known."""

    def __init__(self, loaded: LoadedModel, cut_points: CutPoints, limit: int) -> None:
        self.cut_points = cut_points
        self._loaded = loaded
        self._tree = PrefixTree(limit)
        self._encodes = encoder_inputs(loaded.network)
        self.hits = 0

    def follows(self, content: PromptContent, others: Sequence[PromptContent]) -> bool:
        """Whether much more of the prompt will be known once one of the others is computed."""
        same = [other.marks for other in others if content.marks and other.scope == content.scope]
        shared = max((common(content.marks, marks) for marks in same), default=0)
        return shared >= WORTH and shared - self._tree.known(content.scope, content.marks) >= WORTH

    def known(self, content: PromptContent) -> KnownPrompt:
        """What is kept of a prompt. Pictures that are not known in whole have to be encoded once more."""
        found = None
        if content.marks:
            found = self._tree.find(content.scope, content.marks, content.cuts(self.cut_points))
        if found is None:
            return KnownPrompt(self._loaded.moved(content.inputs))
        self.hits += 1
        start, past = found
        inputs, (unknown, skipped) = content.behind(start), content.unknown(start, self._encodes)
        if not unknown:
            return KnownPrompt(self._loaded.moved(inputs), start, past)
        rest = {name: value for name, value in inputs.items() if name not in SHOWN}
        encode = self._loaded.network.base_model.get_image_features
        encoded = encode(**self._loaded.moved(unknown), return_dict=True)
        return KnownPrompt(self._loaded.moved(rest), start, past, {"image": encoded}, skipped)

    def keep(self, content: PromptContent, prefill: Prefill) -> None:
        if content.marks:
            with self._luxury():
                self._tree.keep(content.scope, content.marks[: prefill.done], Past.of(prefill.cache))

    def keep_answer(self, content: PromptContent, fed: Sequence[int], past: Callable[[], Past]) -> None:
        """Keep a prompt with the answer's tokens that were fed: a chat's next turn begins with them."""
        if content.marks:
            with self._luxury():
                self._tree.keep(content.scope, (*content.marks, *fed), past())

    def give_back(self) -> bool:
        """Drop everything; False if there was nothing."""
        kept = self._tree.bytes > 0
        self._tree.clear()
        return kept

    @contextmanager
    def _luxury(self) -> Iterator[None]:
        """Keeping something fails nobody's answer: what is kept is given back, which frees memory, too."""
        try:
            yield
        except UNFIT as error:
            if device_broken(error):
                raise
            log.warning("nothing is kept for reuse: %s", error)
            self.give_back()
