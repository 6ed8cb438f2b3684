"""What each caller holds of the record store."""

from shared.store.script import Call, Script

HOLDING = Script("holding")


def holding(caller: str, result_s: int) -> Call[int]:
    """About how many bytes; what was deleted is not among them."""
    return Call(HOLDING, {"caller": caller, "result_s": result_s}, int)
