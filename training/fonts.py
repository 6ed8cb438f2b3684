"""The faces texts are drawn in: Pillow's own and matplotlib's DejaVu, both installed by pip.

The fonts of the system are left alone: with them every machine would train another model.
"""

import functools
import importlib.util
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont
PILLOW = "Pillow"
DEJAVU = ("Sans", "Sans-Bold", "SansMono", "SansMono-Bold", "Serif", "Serif-Bold")
FACES = (PILLOW, PILLOW, PILLOW, *DEJAVU)  # a third is Pillow's: what people draw with when they try a model


@functools.cache
def _folder() -> Path:
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the DejaVu fonts come with matplotlib: pip install matplotlib")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


@functools.lru_cache(maxsize=600)
def font(face: str, pixels: int) -> Font:
    if face == PILLOW:
        loaded = ImageFont.load_default(size=pixels)
        if not isinstance(loaded, Font):
            raise TypeError("Pillow was built without FreeType: it has no font of any size")
        return loaded
    return ImageFont.truetype(_folder() / f"DejaVu{face}.ttf", pixels)
