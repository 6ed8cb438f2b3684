"""The engine that generates one answer at a time with transformers' `generate()`: slow, but always right.

No code here knows a model family. Calling threads prepare their prompts meanwhile."""

import logging
import math
from functools import partial
from typing import Any

import torch

from shared.errors import ModelFailed
from shared.models import Model
from shared.request import Parameters
from shared.settings import SettingsError
from worker.engines.base import Cancelled, DeviceBroken, Engine, Finish, Row
from worker.engines.loading.devices import LayerProgress
from worker.engines.loading.loaded import LoadedEngine, LoadedModel
from worker.engines.loading.pretrained import WISHES, wishes_of
from worker.engines.loading.smoke_test import try_out
from worker.engines.loading.torch_errors import UNFIT, device_broken, out_of_memory
from worker.engines.row_limit import RowLimit
from worker.engines.sampling.grammar_processor import grammar_processors
from worker.engines.sampling.logprobs import LogitsRecorder
from worker.engines.sampling.processors import Confidence, Replay, Steps, processors_of

FIRST = "original_inv_freq"


class Ropes:
    """The dynamic rotary embeddings of a network, restored to their state at load.

    For a request longer than the model was made for, transformers computes other frequencies and keeps them
    until a pass is short again (5.23, modeling_rope_utils.py): the next request would begin with them.
    """

    def __init__(self, network: Any) -> None:
        # Some have separate frequencies for each type of layer, with its name as the attributes' prefix.
        self._kept = [
            (module, name.removesuffix(FIRST))
            for module in network.modules()
            if hasattr(module, "original_max_seq_len")
            for name in dir(module)
            if name.endswith(FIRST)
        ]

    def begin(self) -> None:
        """Restore them before a request, so that it does not depend on earlier ones."""
        for module, prefix in self._kept:
            longest, limit = f"{prefix}max_seq_len_cached", module.original_max_seq_len
            if getattr(module, longest, limit) > limit:
                first, now = getattr(module, prefix + FIRST), getattr(module, f"{prefix}inv_freq")
                setattr(module, f"{prefix}inv_freq", first.to(now.device))
                setattr(module, longest, limit)


log = logging.getLogger("worker.engines")
TRIED = Parameters(max_new_tokens=2)
UNUSUAL = {0: "without a picture", 2: "with more than one picture"}


class SequentialEngine(LoadedEngine):
    """`generate()` behind a lock.

    Seeds use torch's process-wide generator, as `generate()` does: one such engine per process.
    """

    name = "sequential"
    rows = 1

    def __init__(self, model: Model) -> None:
        if model.options:
            raise SettingsError(f"model {model.id}: the engine sequential takes no options")
        super().__init__(model)
        self._row_limit = self.progress = RowLimit(self.rows)
        self._broken = ""

    def load(self) -> Engine:
        """Raises ModelFailed."""
        self.start(LoadedModel(self._model))
        return self

    def start(self, loaded: LoadedModel) -> None:
        """Raises ModelFailed, or what the model raises at a first question."""
        self._loaded, self._ropes, self._stacks = loaded, Ropes(loaded.network), LayerProgress(loaded.network)
        self._unborne = {}
        refused = self._tried()
        if refused:
            log.warning("model %s: a made-up question could not be asked: %s", self._model.id, refused)
            refused = f"a made-up question could not be asked: {refused}"
        self._unborne = {} if refused else self._failing()
        loaded.try_videos(self._ask_video)
        self.reason = "; ".join(filter(None, (refused, *self._unborne.values(), loaded.words)))
        self._row_limit = self.progress = RowLimit(self.rows)

    def generate(self, row: Row) -> Finish:
        """Raises Cancelled, DeviceBroken, and LogitsError if the model computes no finite logits."""
        with self._row_limit.enter(row.cancel), torch.inference_mode():
            if self._broken:
                raise DeviceBroken(self._broken)
            row.on_begin()
            try:
                return self._generate(row)
            except RuntimeError as error:
                if not device_broken(error):
                    raise
                self._broken = str(error)
                raise DeviceBroken(self._broken) from error

    @property
    def broken(self) -> bool:
        return bool(self._broken)

    @property
    def prompt_s(self) -> float:
        return math.inf

    def _tried(self) -> str:
        model = self._model.id
        ask = partial(try_out, self, model, TRIED)
        try:
            refusal = ask()
            # A template may ask for more than a made-up question has; this is the processor's refusal.
            single = self._loaded.renderer.template.single
            if refusal and refusal.code == "invalid_image" and (single or ask(pictures=0)):
                reason = refusal.__context__ or refusal.message
                raise ModelFailed(f"model {model}: its processor refuses every made-up question: {reason}")
            return refusal.message if refusal else ""
        except RuntimeError as error:
            wishes = wishes_of(self._model, (*WISHES, "dtype"))
            if not wishes or out_of_memory(error):
                raise
            message = f"model {model}, with {wishes}: a made-up question fails: {error}"
            raise ModelFailed(message) from error

    def _failing(self) -> dict[int, str]:
        """How many pictures the model's own code fails with, which its processor takes, in words."""
        failures = {}
        for pictures, words in UNUSUAL.items():
            try:
                try_out(self, self._model.id, TRIED, pictures=pictures)
            except UNFIT as error:
                if not out_of_memory(error):
                    log.warning("model %s fails %s: %s", self._model.id, words, error)
                    failures[pictures] = f"it fails {words}"
        return failures

    def _ask_video(self, pictures: int) -> None:
        video = self._loaded.renderer.video_input.made_up()
        try_out(self, self._model.id, TRIED, pictures=pictures, videos=[video])

    def _generate(self, row: Row) -> Finish:
        loaded, parameters = self._loaded, row.parameters
        budget = loaded.budget(row.prompt, parameters)
        transcript, confidence, watch = (
            loaded.transcript(row),
            Confidence(),
            LogitsRecorder(parameters.logprobs),
        )
        config = loaded.config(parameters, budget)
        if config.do_sample:
            torch.seed() if parameters.seed is None else torch.manual_seed(parameters.seed)
        format_kept = grammar_processors(row, loaded.ends(parameters))
        processors = [
            confidence,
            *format_kept,
            *processors_of(row, loaded.defaults),
            Replay(row.published),
        ]
        self._ropes.begin()
        with (
            loaded.network.register_forward_hook(watch.see),
            self._stacks.after_each(partial(self._lives, row)),
        ):
            loaded.network.generate(
                **loaded.moved(row.prompt.inputs),
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=[Steps(row, transcript, confidence, watch.of, self._row_limit.tick)],
                tokenizer=loaded.tokenizer,
            )
        # Stop strings of the model's own config may end the answer early, too.
        return transcript.finish("stop" if len(transcript.ids) < budget else "length", confidence.score)

    def _lives(self, row: Row) -> None:
        """Called after each layer: a long prompt is one pass, and its caller may cancel meanwhile.

        Raises Cancelled.
        """
        self._row_limit.tick()
        if row.cancel.is_set():
            raise Cancelled
