"""True sentences about a scene."""

import itertools

from training.scene import Figure, Scene
from training.world import NUMBERS

SAME_COLUMN = 0.04  # figures whose centres are closer, in widths, have no clear order from left to right


def sentence(word: str) -> str:
    return word[0].upper() + word[1:]


def a(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def number_of(name: str, count: int) -> str:
    return f"{NUMBERS[count]} {name}" + ("" if count == 1 else "s")


def there_is_no(name: str) -> str:
    return f"There is no {name}."


def there_are(name: str, count: int) -> str:
    return there_is_no(name) if count == 0 else f"There are {number_of(name, count)}."


def describe(scene: Scene) -> str | None:
    """One sentence; None where people would name the figures in different orders."""
    content = _content(scene)
    if content is None:
        return None
    if not scene.figures and not scene.text:
        return sentence(f"{a('empty')} {scene.background} background.")
    return sentence(f"{content} on {a(scene.background)} background.")


def _content(scene: Scene) -> str | None:
    figures = sorted(scene.figures, key=lambda figure: figure.x)
    if scene.text:
        return f"the text {scene.text} in {scene.ink}"
    if len({figure.name for figure in figures}) <= 1:
        return _alike(figures)
    if len(figures) > 3:
        return number_of("shape", len(figures))
    gap = SAME_COLUMN * scene.image.width
    if any(right.x - left.x < gap for left, right in itertools.pairwise(figures)):
        return None
    *first, last = (a(figure.name) for figure in figures)
    return f"{', '.join(first)} and {last}"


def _alike(figures: list[Figure]) -> str:
    if not figures:
        return ""
    return a(figures[0].name) if len(figures) == 1 else number_of(figures[0].name, len(figures))
