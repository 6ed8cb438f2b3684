"""What the played fleet is asked: one model, two ways of answering, many callers."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from shared import ids
from shared.models import Model
from shared.request import Message, Request, Text
from shared.settings import QueueSettings, RetentionSettings, Settings
from shared.store.admission import Placing

ROWS = 2
STEPS, STEP_S = 20, 0.1
"""Mean steps of an answer, and how long each takes: a worker writes at most ten pieces a second of one."""
MEAN_S = STEPS * STEP_S
CALLERS = 20
KEPT_S = 10
SETTINGS = Settings(
    queue=QueueSettings(max_queued=10_000_000, max_queued_caller=10_000_000),
    retention=RetentionSettings(result_s=KEPT_S, job_s=KEPT_S, event_s=KEPT_S),
)
"""Records are kept for seconds, so that the figures include the cost of deleting them."""


@dataclass(frozen=True)
class Way:
    """Whether an answer's pieces are written as they come, or all of it at its end."""

    name: str

    @property
    def model(self) -> Model:
        options = {"step_s": STEP_S}
        return Model(id=f"played/{self.name}", engine="echo", rows=ROWS, options=options, max_new_tokens=512)


WHOLE, STREAMED = Way("whole"), Way("streamed")
WAYS = (WHOLE, STREAMED)


def models_file() -> str:
    """The rows of both, as a models file has them."""
    return "".join(
        f'[[models]]\nid = "{way.model.id}"\nengine = "echo"\nrows = {ROWS}\nmax_new_tokens = 512\n'
        f"options = {{ step_s = {STEP_S} }}\n"
        for way in WAYS
    )


def placings(way: Way, seed: int) -> Iterator[Placing]:
    """Questions without end, none like another: the words of each are its answer."""
    dice = random.Random(seed)  # noqa: S311
    model = way.model
    for number in itertools.count():
        words = " ".join(f"w{number}" for _ in range(dice.randint(STEPS // 2, STEPS * 3 // 2)))
        request = Request(model=model.id, messages=(Message(role="user", parts=(Text(text=words),)),))
        run = ids.run_id()
        yield Placing(
            job=ids.job_id(),
            run=run,
            caller=f"caller-{number % CALLERS}",
            model=model.id,
            lane=model.lane,
            priority="normal",
            hash=run,
            key=None,
            blobs=(),
            cost=64,
            request=request.model_dump_json(exclude_none=True),
        )
