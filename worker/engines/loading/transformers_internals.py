"""What the engines use of transformers that it does not document, and nothing else does: one name for each.

Written for transformers 5.23. vLLM brings an older one: what is new is asked for where it is used.
tests/unit/project/test_private_names.py fails by name where one has moved, or takes other arguments.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import utils as generation
from transformers.utils.chat_template_utils import _compile_jinja_template

MEDIA_INPUTS = frozenset(generation.MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL)
"""Names of inputs that only the pass over a prompt takes: pixels, sounds, what an encoder made of them.

Families name them in many ways, and transformers keeps the only list.
"""


def compiled_template(text: str) -> jinja2.Template:
    """A chat template with the tags that transformers adds to Jinja. Raises TemplateSyntaxError."""
    compile_template: Any = _compile_jinja_template
    template: jinja2.Template = compile_template(text)
    return template


def picture_tokens(processor: Any, sizes: Sequence[tuple[int, int]]) -> int:
    """Tokens of pictures of these widths and heights, with separators. May raise UNFIT."""
    counts = processor._get_num_multimodal_tokens(image_sizes=[(high, wide) for wide, high in sizes])
    return sum(counts["num_image_tokens"])


def logits_processors(
    network: Any,
    config: GenerationConfig,
    ids: torch.Tensor,
    own: Iterable[LogitsProcessor],
    inputs: Mapping[str, Any],
) -> LogitsProcessorList:
    """The processors that `generate()` would make for a row with this prompt and config, with `own`.

    It is not given them itself: some families (Janus) replace it by one that passes none on.
    """
    processors: LogitsProcessorList = network._get_logits_processor(
        config,
        input_ids_seq_length=ids.shape[1],
        encoder_input_ids=ids,
        logits_processor=LogitsProcessorList(own),
        device=ids.device,
        model_kwargs=inputs,
    )
    return processors


def prefill(network: Any, ids: torch.Tensor, config: GenerationConfig, inputs: dict[str, Any]) -> Any:
    """The output of the pass over a whole prompt, as `generate()` makes it: families have their own."""
    return network._prefill(ids, config, inputs, is_first_iteration=True)


def next_inputs(network: Any, outputs: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the next token's pass, as `generate()` makes them from this pass's."""
    updated: dict[str, Any] = network._update_model_kwargs_for_generation(
        outputs, inputs, is_encoder_decoder=False
    )
    return updated


def encoder_rows(output: Any, rows: torch.Tensor) -> Any:
    """An encoder's output with these rows of its features only, in the container that the model expects."""
    slice_output: Any = generation._slice_mm_encoder_output
    return slice_output(output, rows)


def encodes_first(network: Any) -> bool:
    """Whether `generate()` encodes pictures and videos before the pass over their prompt."""
    return bool(network._supports_mm_encoder_outputs())


def attention_of(network: Any) -> str:
    """The name, in transformers' AttentionInterface, of what computes a network's text attention."""
    return str(network.config.get_text_config()._attn_implementation)
