"""An answer in JSON, and where a large one is made."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Response
from pydantic_core import to_json

T = TypeVar("T")

_SMALL = 64 * 2**10
# One thread: records that are read have many times their size, and two are read no faster side by side.
_WRITER = ThreadPoolExecutor(1, "writer")


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, "application/json")


async def made(make: Callable[[], T], size: int) -> T:
    """`make()`; of many bytes of records off the event loop, where it would hold up every call."""
    if size <= _SMALL:
        return make()
    return await asyncio.get_running_loop().run_in_executor(_WRITER, make)
