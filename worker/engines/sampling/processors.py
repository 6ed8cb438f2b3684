"""What a row adds to a `generate()` call of transformers: penalties, bias, replay, score and end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from shared.errors import CallerError
from shared.request import Parameters
from worker.engines.base import Cancelled, Row
from worker.engines.sampling.detokenizer import Likelihood, Transcript

# Below this the distribution is one token anyway, and float32 logits overflow.
MIN_TEMPERATURE = 1e-4
# In no vocabulary: stands for "no end token", because without any `generate()` would take the model's own.
NO_TOKEN = 2**31 - 1


class LogitsError(ArithmeticError):
    """The model computed NaN or infinite logits: its weights, number format or device are broken.

    A caller cannot cause it: float32 holds a sound model's logits after any repetition penalty.
    """


class AnswerProcessor(LogitsProcessor):
    """Finds the answer by length, not by counting calls: a step that ran out of memory is repeated."""

    _start: int | None = None

    def sampled_ids(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """The answer's tokens so far, none at the first call."""
        if self._start is None:
            self._start = input_ids.shape[1]
        return input_ids[0, self._start :]


class Confidence(AnswerProcessor):
    """Remembers one step's distribution, to tell how probable the token chosen from it was.

    It is the model's, after its repetition penalty and suppressed tokens, before OpenAI's penalties,
    temperature, top_k and top_p. Raises LogitsError.
    """

    def __init__(self) -> None:
        self._scores = torch.empty(0)
        self._sum = 0.0
        self._steps = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self.remember(input_ids, scores)
        if bool(torch.isnan(self._scores).any()):
            raise LogitsError("the model computed NaN or infinite logits")
        return scores

    def remember(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> None:
        self.sampled_ids(input_ids)
        self._scores = torch.log_softmax(scores[0], dim=-1)

    def logprob(self, token: torch.Tensor) -> torch.Tensor:
        """Of the token [1], on its device."""
        return self._scores.gather(0, token)

    def of(self, token: int) -> float:
        return float(self._scores[token].exp())

    def add(self, probability: float) -> None:
        self._sum += probability
        self._steps += 1

    @property
    def score(self) -> float | None:
        """Mean probability of the chosen tokens."""
        return self._sum / self._steps if self._steps else None


class Penalties(AnswerProcessor):
    """OpenAI's frequency and presence penalty, over generated tokens only.

    Source: OpenAI API guide, "Frequency and presence penalties": logit -= count * f + (count > 0) * p.
    """

    def __init__(self, frequency: float, presence: float) -> None:
        self._frequency = frequency
        self._presence = presence

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        ids = self.sampled_ids(input_ids)
        # What `torch.bincount` does, which on a GPU waits to see the largest token.
        counts = ids.new_zeros(scores.shape[1]).scatter_add_(0, ids, torch.ones_like(ids))
        penalty = counts * self._frequency + (counts > 0) * self._presence
        return scores - penalty  # type: ignore[return-value]


class Bias(LogitsProcessor):
    """OpenAI's logit_bias. Comes last but for Replay; what other processors forbid stays forbidden.

    Source: OpenAI API reference, `logit_bias`: added to the logits; -100 bans a token.
    """

    def __init__(self, biases: Sequence[tuple[int, float]]) -> None:
        self._ids = torch.tensor([token for token, _ in biases])
        self._values = torch.tensor([-torch.inf if bias <= -100 else bias for _, bias in biases])
        self._bans = any(bias <= -100 for _, bias in biases)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:  # noqa: ARG002
        self._ids, self._values = self._ids.to(scores.device), self._values.to(scores.device)
        bent = scores.clone()
        bent[:, self._ids] += self._values
        # The check reads from the device. NaN is not the caller's doing, and reported elsewhere.
        if self._bans and bool(bent.max() == -torch.inf):
            # Sampling without any possible token would be reported as an error of the device.
            message = "This logit_bias bans every token that could come next."
            raise CallerError("invalid_request", message, param="logit_bias")
        return bent  # type: ignore[return-value]


class RepeatBan(LogitsProcessor):
    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return without_repeats(input_ids[0], scores, self._size)  # type: ignore[return-value]


def without_repeats(ids: torch.Tensor, scores: torch.Tensor, size: int) -> torch.Tensor:
    """Scores [..., vocabulary] where no token ends `size` tokens that `ids`, all so far, have already.

    Where that would leave none, they stay. Source: transformers, `NoRepeatNGramLogitsProcessor`, which loops
    over all tokens at each step.
    """
    if len(ids) < size:
        return scores
    ids = ids.long()
    grams = ids.unfold(0, size, 1)
    ends, known = grams[:, -1], (grams[:, :-1] == ids[len(ids) - size + 1 :]).all(dim=1)
    # A prompt's placeholders may be none of the tokens that can be drawn.
    known &= (ends >= 0) & (ends < scores.shape[-1])
    ceilings = torch.where(known, -torch.inf, torch.inf).to(scores.dtype).expand(*scores.shape[:-1], -1)
    allowed = scores.scatter_reduce(-1, (ends * known).expand_as(ceilings), ceilings, "amin")
    return torch.where(allowed.amax(-1, keepdim=True) > -torch.inf, allowed, scores)


def processors_of(row: Row, defaults: GenerationConfig) -> list[LogitsProcessor]:
    """Processors for the parameters of a row that `generate()` does not know, or computes too slowly."""
    processors: list[LogitsProcessor] = []
    parameters = row.parameters
    if size := ngram_size(row, defaults):
        processors.append(RepeatBan(size))
    if parameters.frequency_penalty or parameters.presence_penalty:
        processors.append(Penalties(parameters.frequency_penalty or 0, parameters.presence_penalty or 0))
    if parameters.logit_bias:
        processors.append(Bias(parameters.logit_bias))
    return processors


def ngram_size(row: Row, defaults: GenerationConfig) -> int:
    """So many tokens come once only; 0 for no such limit. A format has to repeat some, whatever the model's
    own default.
    """
    size = row.parameters.no_repeat_ngram_size
    if size is None:
        size = 0 if row.grammar else defaults.no_repeat_ngram_size
    return size or 0


class Replay(AnswerProcessor):
    """Forces the tokens that an earlier attempt published, one step each.

    The replayed steps are exactly those of the interrupted attempt: cache, penalties, random draws and
    rounding end in the same state, for every family and number format. The price is one decode step per
    published token instead of one prefill.
    """

    def __init__(self, published: Sequence[int]) -> None:
        self._published = published

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = len(self.sampled_ids(input_ids))
        if step >= len(self._published):
            return scores
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._published[step]] = 0
        return forced  # type: ignore[return-value]


@dataclass(eq=False, repr=False)
class Steps(StoppingCriteria):
    """After each step: tick, add the token to the transcript, and end the row if it is finished.

    Raises Cancelled, and RuntimeError if a step drew several tokens: those before the last would be lost.

    `likelihood` returns the token's logprobs, if the row reports them.
    """

    row: Row
    transcript: Transcript
    confidence: Confidence
    likelihood: Callable[[int], Likelihood | None]
    tick: Callable[[], None]

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: torch.FloatTensor,  # noqa: ARG002
        **kwargs: object,  # noqa: ARG002
    ) -> torch.BoolTensor:
        self.tick()
        if self.row.cancel.is_set():
            raise Cancelled
        steps, published = len(self.confidence.sampled_ids(input_ids)), len(self.transcript.ids)
        if steps != published + 1:
            step = f"the model drew {steps - published} tokens in one step, where one is expected"
            raise RuntimeError(f"{step}, or its generate() passes no logits processors on")
        token = int(input_ids[0, -1])
        self.confidence.add(self.confidence.of(token))
        over = self.transcript.add(token, self.likelihood(token))
        return torch.full((1,), over, device=input_ids.device)  # type: ignore[return-value]


def generation_config(
    parameters: Parameters, *, budget: int, suppress: Iterable[int], defaults: GenerationConfig
) -> GenerationConfig:
    """One row's settings; transformers fills a None here from the model's own generation config.

    No beams: they would revise tokens that readers already have.
    """
    samples = parameters.samples(bool(defaults.do_sample))
    hot = {
        "temperature": parameters.temperature and max(parameters.temperature, MIN_TEMPERATURE),
        "top_p": parameters.top_p,
        "top_k": parameters.top_k,
        "min_p": parameters.min_p,
        "typical_p": parameters.typical_p,
    }
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=budget,
        min_new_tokens=parameters.min_new_tokens,
        eos_token_id=_ends(parameters, defaults),
        do_sample=samples,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=parameters.repetition_penalty,
        no_repeat_ngram_size=0,  # `RepeatBan` does it.
        suppress_tokens=sorted({*suppress, *(defaults.suppress_tokens or ())}) or None,
        **(hot if samples else {}),
    )


def _ends(parameters: Parameters, defaults: GenerationConfig) -> list[int] | None:
    """End tokens, the caller's included, so that none comes before `min_new_tokens`; None for the model's."""
    if parameters.ignore_eos:
        return [*(parameters.stop_token_ids or (NO_TOKEN,))]
    if parameters.stop_token_ids is None:
        return None
    own = defaults.eos_token_id
    return [*(own if isinstance(own, list) else [] if own is None else [own]), *parameters.stop_token_ids]
