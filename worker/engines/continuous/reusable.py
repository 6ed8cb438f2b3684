"""What of a request may serve later ones of the same model; `certify_reuse` finds it out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reusable:
    """`beginnings` of prompts, with their answers; encoded `pictures`, `apart` where there are several.

    `flaw` says why not all.
    """

    beginnings: bool = False
    pictures: bool = False
    apart: bool = False
    flaw: str = ""

    @property
    def anything(self) -> bool:
        return self.beginnings or self.pictures

    @property
    def words(self) -> str:
        """What was proved, in words for who runs the worker."""
        kept = ["beginnings of prompts"] * self.beginnings + ["encoded pictures"] * self.pictures
        why = f" ({self.flaw})" if self.flaw else ""
        return f"reuses {' and '.join(kept) or 'nothing'}{why}"
