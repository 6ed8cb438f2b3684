"""What later requests to the same model may reuse of a request; `certify_reuse` finds it out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reusable:
    """`beginnings` of prompts with their answers, encoded `pictures`, and whether several are kept `apart`.

    `flaw` says why something is not reused.
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
        """What was proved, in words for the operator."""
        kept = ["beginnings of prompts"] * self.beginnings + ["encoded pictures"] * self.pictures
        why = f" ({self.flaw})" if self.flaw else ""
        return f"reuses {' and '.join(kept) or 'nothing'}{why}"
