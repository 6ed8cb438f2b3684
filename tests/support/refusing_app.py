"""The application in front of which every question is refused with the error that it names."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.admission.submission import Terms
from api.server.memory_budget import Reservation
from shared.errors import ServiceError
from shared.job import JobView
from shared.request import Request, Text
from tests.support.app import application
from tests.support.app_server import listening
from tests.support.fake_service import FakeService

MESSAGE, PARAM = "It is refused.", "messages[0]"
RETRY_AFTER_S = 7


class Refusing(FakeService):
    """A question is an error's code, and behind a blank after how many seconds to come back."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: Counter[str] = Counter()

    async def submit(self, request: Request, terms: Terms, _: Reservation | None = None) -> JobView:  # noqa: ARG002
        part = request.messages[-1].parts[-1]
        assert isinstance(part, Text)
        self.refused[part.text] += 1
        code, *seconds = part.text.split()
        wait_s = float(seconds[0]) if seconds else RETRY_AFTER_S
        raise ServiceError(code, MESSAGE, param=PARAM, retry_after=wait_s)


@dataclass
class Refused:
    """Where it listens, and how often each question came."""

    url: str
    questions: Counter[str]


@asynccontextmanager
async def refusing() -> AsyncIterator[Refused]:
    service = Refusing()
    async with application(service) as app, listening(app) as url:
        yield Refused(url, service.refused)
