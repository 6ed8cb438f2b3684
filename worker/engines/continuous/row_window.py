"""Which columns of the cache belong to which row.

All rows end at the same column, like a left-padded batch, so a step writes one column for everybody:

    column   0   1   2   3   4   5   6   7
    row 0            p   p   p   p   a   .      p: prompt, a: answer, .: the next step
    row 1                    p   a   a   .
    row 2        p   p   p   p   p   p   .
                 first               end
"""

import torch

from worker.engines.continuous.attention import AttentionGroup, grouped

# Columns are allocated in multiples of this, so that the cache need not grow for short answers.
COLUMNS = 64


class RowWindow:
    """The columns in use, `first` to `end`; the longest row fills them all."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self.first = 0
        self.end = 0
        self.lengths: list[int] = []
        self._columns = columns
        # Both stay valid for many steps, until a row joins or leaves.
        self._mask: torch.Tensor | None = None
        self._grouped: tuple[int, list[AttentionGroup]] | None = None

    @property
    def rows(self) -> int:
        return len(self.lengths)

    def shift_for(self, length: int) -> int:
        """Columns that all rows must move right before a row of `length` fits in front of `end`."""
        return max(0, length - self.end)

    def move(self, shift: int) -> None:
        self.first += shift
        self.end += shift
        self._forget()

    def enter(self, length: int) -> None:
        self.lengths.append(length)
        self._fit()

    def leave(self, index: int) -> None:
        """The last row takes the place of the one that leaves."""
        last = self.lengths.pop()
        if index < self.rows:
            self.lengths[index] = last
        if not self.lengths:
            # The next first row begins at column 0, as in new memory.
            self.end = 0
        self._fit()

    def advance(self) -> None:
        self.lengths = [length + 1 for length in self.lengths]
        self.end += 1

    def room(self, columns: int) -> int:
        """Columns to allocate for `columns` in use: a quarter more, so that few steps copy everything."""
        return -(-(columns + columns // 4) // self._columns) * self._columns

    def mask(self, device: torch.device) -> torch.Tensor:
        """Ones for a row's columns and its coming token's; the model derives its own masks from it."""
        if self._mask is None or self._mask.shape[1] <= self.end:
            columns = torch.arange(self.end + self._columns, device=device)
            starts = self.end - torch.tensor(self.lengths, device=device)
            self._mask = (columns >= starts[:, None]).long()
        return self._mask[:, self.first : self.end + 1]

    def groups(self, waste: int | None) -> list[AttentionGroup]:
        """Groups of rows that attend together, their coming token included; empty if all rows do."""
        if waste is None:
            return []
        if self._grouped is None:
            self._grouped = (self.end, grouped(self.lengths, waste))
        since, groups = self._grouped
        more = self.end + 1 - since
        return (
            [AttentionGroup(start, end, length + more) for start, end, length in groups]
            if len(groups) > 1
            else []
        )

    def _fit(self) -> None:
        self.first = self.end - max(self.lengths, default=0)
        self._forget()

    def _forget(self) -> None:
        self._mask = self._grouped = None
