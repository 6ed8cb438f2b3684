"""What each caller holds of the record store."""

from shared.store.script import Call, Script

HOLDING = Script("holding")


def holding(caller: str, result_s: int) -> Call[int]:
    """About how many bytes a caller holds; deleted jobs do not count."""
    return Call(HOLDING, {"caller": caller, "result_s": result_s}, int)
