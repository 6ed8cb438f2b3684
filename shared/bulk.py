"""Large answers: where they are read and written."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_SMALL = 64 * 2**10
# One thread: records that are read have many times their size, and two are read no faster side by side.
_WRITER = ThreadPoolExecutor(1, "writer")


async def made(make: Callable[[], T], size: int) -> T:
    """`make()`; of many bytes of records off the event loop, where it would hold up every call."""
    if size <= _SMALL:
        return make()
    return await asyncio.get_running_loop().run_in_executor(_WRITER, make)
