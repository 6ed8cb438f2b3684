"""A job's story as it is told, with a line of comfort where it pauses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request

from api.answering import note
from api.context import ProcessContext
from shared.errors import ServiceError
from shared.job import Event, JobView


async def follow(
    request: Request, context: ProcessContext, view: JobView, after: int = 0
) -> AsyncGenerator[Event | str]:
    """Events behind id `after`, to the terminal one; a string says where the job stands while nothing comes.

    Headers that have not left by then tell what became of a job whose pictures had to be fetched. Close it
    (`aclosing`) to stop listening. Raises ServiceError, also where the story breaks off.
    """
    placing = view.cache is None
    async with aclosing(context.waiting.events(view, after, context.settings.api.keepalive_s)) as events:
        async for event in events:
            if event is None:
                yield standing(await context.jobs.get(view.caller, view.id))
            else:
                if placing:
                    note(request, await context.jobs.get(view.caller, view.id))
                    placing = False
                yield event
                if event.last:
                    return
    if not view.ended:
        raise ServiceError("stream_broken", "The stream broke off before the job's end.")


def standing(view: JobView) -> str:
    """A keep-alive's text: how many are ahead and why the job waits."""
    words = [view.status, "" if view.ahead is None else str(view.ahead), view.waiting_reason or ""]
    return " ".join(word for word in words if word)
