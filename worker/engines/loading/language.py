"""What a model's folder says about prompts, tokens and answers, independent of what computes the weights."""

import json
import logging
from collections.abc import Container, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import llguidance
import torch
import transformers
from jinja2 import TemplateSyntaxError
from llguidance import LLMatcher
from transformers import GenerationConfig

from shared.errors import CallerError, ModelFailed
from shared.models import Model
from shared.request import Parameters, Request
from shared.request_length import check_text
from shared.settings import settings
from shared.tool_calls.syntax import MARKS, PLAIN
from shared.tool_calls.thoughts import AnswerSyntax, read_answer_syntax
from worker.engines.base import Facts, Images, ModelFacts, Prompt, Row
from worker.engines.grammar.compiler import SPACING, Grammars
from worker.engines.grammar.lark import Spacing
from worker.engines.grammar.token_bytes import TokenNames
from worker.engines.grammar.tool_calls import CallGrammar
from worker.engines.loading.model_folder import digest_folder
from worker.engines.loading.transformers_internals import compiled_template
from worker.engines.prompt.budget import answer_budget, fitting, too_long
from worker.engines.prompt.chat_template import ChatTemplate
from worker.engines.prompt.picture_tokens import PictureTokenCounter, check_pixels, pixel_bounds
from worker.engines.prompt.renderer import Renderer
from worker.engines.sampling.detokenizer import Decode, Transcript, behind_blanks

log = logging.getLogger("worker.engines.loading")
# Tokenizers without a limit of their own say 1e30.
SANE_LENGTH = 10**8
# Cleaning up spaces rewrites at most the four characters of " n't".
CLEAN_UP_REACH = 4
# The parameters of sampling.
DICE = ("temperature", "top_p", "top_k", "min_p", "typical_p")

ANSWERS = 5
"""Goes up when our code begins to answer the same request differently: cached answers are no longer given,
and no answer is resumed under other rules than those it began with."""


class Language:
    """One model's prompts and answers, by its processor and configs; may be used from several threads."""

    overlong = ""
    """What to report if the row allows more tokens than the model was made for."""

    def __init__(
        self, model: Model, folder: Path, processor: Any, config: Any, defaults: GenerationConfig
    ) -> None:
        """`defaults` are the model's own generation config. Raises ModelFailed if its context length is
        unknown or its chat template is not a template.
        """
        self.model = model
        self.defaults = defaults
        self.tokenizer: Any = processor.tokenizer
        self._text = config.get_text_config()
        context_length = self._read_length()
        self.renderer = Renderer(
            processor, config, context_length, model.chat_template_kwargs, model.reasoning
        )
        check_prompts(model, self.renderer.template)
        self._pixel_bounds = pixel_bounds(processor)
        self._picture_tokens = PictureTokenCounter(processor, self.renderer.template.mark)
        self.facts = self._read_facts(context_length)
        self.grammars = Grammars(self.tokenizer, self.end_ids)
        self._names = TokenNames(self.tokenizer, self.grammars.tokenizer)
        self._hidden = lru_cache(maxsize=16)(partial(_hidden, self.tokenizer))
        self._special = self._hidden(AnswerSyntax()).intersection(self.tokenizer.all_special_ids)
        self._files = digest_folder(folder)
        self._max_side = settings().pictures.max_side
        # With torchvision transformers uses other image processors, whose pixels differ a little.
        self._pixels = type(getattr(processor, "image_processor", None)).__name__

    def shorten(self, context_length: int) -> None:
        """From now on no request may have more tokens, answer included."""
        self.facts = replace(self.facts, context_length=context_length)
        self.renderer.context_length = context_length

    def check(self, request: Request, pictures: Images) -> None:
        """Check what can be checked before the request is rendered and its pictures are resized.

        Raises CallerError `context_length_exceeded`, `invalid_request`.
        """
        check_text(request, settings().api.text_limit_kb)
        self._check_ids(request.parameters)
        check_pixels(request, self._pixel_bounds)
        tokens, limit = self._picture_tokens.of(pictures), self.facts.context_length
        if tokens >= limit:
            fit = fitting(len(pictures), tokens, limit - 1)
            raise too_long(limit, f"the pictures alone are {tokens}. Send fewer or smaller ones.{fit}")

    def grammar(self, request: Request, caller: str) -> LLMatcher | None:
        """Raises CallerError as `worker.engines.base.Engine.grammar` says."""
        calling, thoughts = self.calling(request, SPACING), self.renderer.template.thoughts_of(request)
        if calling is not None:
            return self.grammars.calls(calling, caller, thoughts)
        format = request.parameters.format
        return None if format is None else self.grammars.compile(format, caller, thoughts)

    def calling(self, request: Request, spacing: Spacing) -> CallGrammar | None:
        """The calls that the answer is held to; None if it is held to none."""
        tools, format = request.tools, request.parameters.format
        if tools is None or not (tools.is_constrained or format):
            return None
        return CallGrammar(tools, self.renderer.template.syntax or PLAIN, format, spacing)

    def budget(self, prompt: Prompt, parameters: Parameters) -> int:
        """The most tokens that the answer may have. Raises CallerError `context_length_exceeded`."""
        return answer_budget(
            parameters,
            default=self.model.max_new_tokens,
            prompt_tokens=prompt.tokens,
            context_length=self.facts.context_length,
            pictures=prompt.pictures,
            picture_tokens=prompt.image_tokens,
        )

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        """The parameters, completed from the generation config, without those of sampling if greedy."""
        samples = parameters.samples(bool(self.defaults.do_sample))
        values = {
            name: getattr(parameters, name) for name in ("repetition_penalty", "no_repeat_ngram_size", *DICE)
        }
        own = {name: getattr(self.defaults, name, None) for name in values}
        used = {name: own[name] if value is None else value for name, value in values.items()}
        unused = {} if samples else dict.fromkeys(DICE)
        shows = read_answer_syntax(prompt.syntax).calls is not None
        variables = tuple(self.renderer.template.variables(parameters, shows=shows).items()) or None
        length = {"do_sample": samples, "max_new_tokens": self.budget(prompt, parameters)}
        return parameters.model_copy(update={**used, **unused, **length, "chat_template_kwargs": variables})

    def transcript(self, row: Row) -> Transcript:
        unsettled = CLEAN_UP_REACH if self.tokenizer.clean_up_tokenization_spaces else 0
        decode: Decode = self._decode
        hidden, name = self._special, self._names.__call__
        if syntax := row.prompt.syntax:
            hidden = self._hidden(read_answer_syntax(syntax))
            decode = partial(self._decode_visible, hidden)
        if row.parameters.skip_special_tokens is False:
            decode, hidden, name = self._decode_all, frozenset(), self._names.with_special
        if row.prompt.ends_open:
            decode = self._names.behind_text(decode)
        # An answer with a grammar has to spell the blanks, too.
        if row.prompt.trimmed and row.grammar is None:
            decode = behind_blanks(decode, row.prompt.trimmed)
        ends = self.ends(row.parameters)
        return Transcript(row, decode, name, ends=ends, hidden=hidden, unsettled=unsettled)

    @property
    def end_ids(self) -> set[int]:
        ids = self.defaults.eos_token_id
        return set(ids) if isinstance(ids, list) else {ids}

    def ends(self, parameters: Parameters) -> set[int]:
        """The tokens that end an answer by themselves."""
        return set() if parameters.ignore_eos else self.end_ids

    @property
    def suppressed(self) -> set[int]:
        """Tokens never generated: a placeholder would claim a picture once the answer is sent back."""
        own = self.defaults.suppress_tokens or ()
        return {*(self.renderer.placeholder_ids - self.end_ids), *own}

    def identity(self) -> Facts:
        """What changes answers here, for the fingerprint, which covers the rest itself."""
        own = self.model.chat_template_kwargs
        return {
            "answers": ANSWERS,
            "files": self._files,
            "context_length": self.facts.context_length,
            "max_new_tokens": self.model.max_new_tokens,
            "max_side": self._max_side,
            "pixels": self._pixels,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "llguidance": llguidance.__version__,
            **({} if self.model.reasoning is None else {"reasoning": " ".join(self.model.reasoning)}),
            **({"chat_template_kwargs": json.dumps(own, sort_keys=True)} if own else {}),
        }

    def _check_ids(self, parameters: Parameters) -> None:
        size = self._text.vocab_size
        named = {
            "logit_bias": [token for token, _ in parameters.logit_bias or ()],
            "stop_token_ids": parameters.stop_token_ids or (),
        }
        for name, ids in named.items():
            unknown = next((id_ for id_ in ids if id_ >= size), None)
            if unknown is not None:
                message = f"{name} names the token {unknown}, but this model knows 0 to {size - 1}."
                raise CallerError("invalid_request", message, param=name)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _decode_visible(self, hidden: Container[int], ids: Sequence[int]) -> str:
        """The text with the marks of calls and thoughts, which are special tokens in some models."""
        visible = [id_ for id_ in ids if id_ not in hidden]
        return self._decode_all(visible)

    def _decode_all(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def _read_length(self) -> int:
        own = [getattr(self._text, "max_position_embeddings", None), self.tokenizer.model_max_length]
        lengths = [int(n) for n in own if n is not None and n < SANE_LENGTH]
        length = self.model.context_length
        if not lengths and length is None:
            raise ModelFailed(f"model {self.model.id}: its files name no length; set context_length")
        if lengths and length and length > min(lengths):
            log.warning(
                "model %s: context_length is beyond the %d tokens that its files name",
                self.model.id,
                min(lengths),
            )
            self.overlong = f"context_length is beyond the {min(lengths)} tokens that its files name"
        return length or min(lengths)

    def _read_facts(self, context_length: int) -> ModelFacts:
        return ModelFacts(
            context_length=context_length,
            samples=bool(self.defaults.do_sample),
            tools=self.renderer.template.syntax,
            sampling_rate=self.renderer.sound_input.rate,
            videos=self.renderer.video_input.takes,
        )


def check_prompts(model: Model, template: ChatTemplate) -> None:
    """Raises ModelFailed where it is no template, or cannot take the variables of the model's row."""
    source = template.source
    try:
        for text in source.values() if isinstance(source, dict) else filter(None, [source]):
            compiled_template(text)
        template.check_defaults()
    except TemplateSyntaxError as error:
        raise ModelFailed(
            f"model {model.id}: its chat template, line {error.lineno}: {error.message}"
        ) from None
    except CallerError as refusal:
        raise ModelFailed(
            f"model {model.id}: its chat_template_kwargs do not fit: {refusal.message}"
        ) from None


def _hidden(tokenizer: Any, syntax: AnswerSyntax) -> frozenset[int]:
    """Special tokens that make no text, because they are no part of a mark of calls or thoughts."""
    marks = " ".join((*(MARKS[syntax.calls] if syntax.calls else ()), *(syntax.thoughts or ())))
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(id_ for id_, token in added if token.special and token.content not in marks)
