"""Where large answers are parsed and rendered: off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SMALL = 64 * 2**10
# One thread: parsed records take many times their size, and two are parsed no faster side by side.
_WRITER = ThreadPoolExecutor(1, "writer")


async def offload_if_large(make: Callable[[], T], size: int) -> T:
    """`make()`; for large records off the event loop, where it would hold up every call."""
    if size <= SMALL:
        return make()
    return await asyncio.get_running_loop().run_in_executor(_WRITER, make)
