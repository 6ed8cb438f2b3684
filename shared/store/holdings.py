"""What each caller holds of the record store."""

from shared.store.script import Script, ScriptCall

HOLDING = Script("holding")


def holding(caller: str, result_s: int) -> ScriptCall[int]:
    """About how many bytes a caller holds; deleted jobs do not count."""
    return ScriptCall(HOLDING, {"caller": caller, "result_s": result_s}, int)
