"""One row's answer in the making: its tokens, how the next one is drawn, and when it is over."""

from concurrent.futures import Future

import torch
from transformers import GenerationConfig

from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.draw import Draw
from worker.engines.continuous.greedy import Choice
from worker.engines.continuous.prefill import Prefill, Seams
from worker.engines.loaded import LoadedModel
from worker.engines.transcript import Transcript


class Answer:
    """Written by the engine's thread; the task thread waits for `future`.

    Taken out of the batch and prefilled again, it feeds the tokens it already has without drawing them anew
    (`catches_up`).
    """

    _transcript: Transcript
    _config: GenerationConfig
    _draw: Draw

    def __init__(self, row: Row, loaded: LoadedModel) -> None:
        """Raises CallerError `context_length_exceeded`."""
        self.row = row
        self.future: Future[Finish] = Future()
        self.budget = loaded.budget(row.prompt, row.parameters)
        self.alone = False
        self.failed_steps = 0
        self._loaded = loaded
        self._fed = 0
        self._begun = False
        self._stopped = False

    @property
    def length(self) -> int:
        """Tokens of prompt and answer, as long as it may become."""
        return self.row.prompt.tokens + self.budget

    @property
    def over(self) -> bool:
        ids = self._transcript.ids
        return self._stopped or len(ids) == self.budget or ids[-1] in self._loaded.end_ids

    @property
    def cancelled(self) -> bool:
        return self.row.cancel.is_set()

    def prefill(self, seams: Seams) -> Prefill:
        """Start, or start again. Raises Refusal, and whatever the model raises on its pictures."""
        if not self._begun:
            self._begin()
        inputs = self._loaded.inputs(self.row.prompt)
        prefill = Prefill(self._loaded.network, inputs, self._config, self._draw.own, seams)
        self._draw.prepare(prefill.ids, self._transcript.ids, prefill.processors)
        self._fed = 0
        return prefill

    def feed(self) -> int:
        """The token for the next step."""
        return self._transcript.ids[self._fed]

    def fed(self) -> None:
        """The step has taken it."""
        self._fed += 1

    @property
    def catches_up(self) -> bool:
        """Whether the token behind the one just fed is known already."""
        return self._fed < len(self._transcript.ids)

    @property
    def plain(self) -> bool:
        """Whether its next token is the most probable one."""
        return self._draw.plain

    def take(self, logits: torch.Tensor, choice: Choice | None = None) -> None:
        """The next token, from [1, vocabulary] or as `greedy` found it.

        Raises Cancelled, LogitsError, and what `emit` raises.
        """
        if self.cancelled:
            raise Cancelled
        token = self._draw.next(logits) if choice is None else self._draw.accept(choice)
        self._stopped = self._transcript.add(token)

    def finish(self) -> Finish:
        ids = self._transcript.ids
        ended = len(ids) < self.budget or ids[-1] in self._loaded.end_ids
        return self._transcript.finish("stop" if ended else "length", self._draw.score)

    def _begin(self) -> None:
        self._begun = True
        self._transcript = self._loaded.transcript(self.row)
        self._config = self._loaded.config(self.row.parameters, self.budget)
        self._draw = Draw(self.row, self._config, self._loaded.network.device)
