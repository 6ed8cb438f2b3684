"""Tables of the generated pages."""

from collections.abc import Iterable, Sequence


def rows_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table after an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
