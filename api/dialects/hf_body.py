"""The bodies of Hugging Face's raw route; what their `inputs` mean is in `hf`."""

from typing import Any

from api.dialects.asking import Asking
from api.dialects.formats import Grammar
from api.dialects.sampling import Count, Sampling
from api.dialects.strict_json import Wire


class Generation(Sampling):
    """`parameters` and `generate_kwargs` alike; the fields after `use_cache` are refused by HARMLESS.

    `use_cache` here is the model's KV cache, which changes no answer.
    """

    max_new_tokens: Count | None = None
    min_new_tokens: Count | None = None
    do_sample: bool | None = None
    typical_p: float | None = None
    num_return_sequences: Count | None = None
    stop_sequences: list[str] | None = None
    grammar: Grammar | None = None
    use_cache: bool | None = None
    best_of: int | None = None
    clean_up_tokenization_spaces: bool | None = None
    decoder_input_details: bool | None = None
    details: bool | None = None
    early_stopping: bool | str | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    max_length: int | None = None
    max_time: float | None = None
    min_length: int | None = None
    num_beam_groups: int | None = None
    num_beams: int | None = None
    penalty_alpha: float | None = None
    top_n_tokens: int | None = None
    truncate: int | None = None
    watermark: bool | None = None


class HfParameters(Generation):
    return_full_text: bool | None = None
    store: bool | None = None
    generate_kwargs: dict[str, Any] | None = None
    generation_parameters: dict[str, Any] | None = None
    adapter_id: str | None = None
    doc_stride: int | None = None
    handle_impossible_answer: bool | None = None
    lang: str | None = None
    max_answer_len: int | None = None
    max_question_len: int | None = None
    max_seq_len: int | None = None
    word_boxes: list[Any] | None = None


class Options(Wire):
    use_cache: bool | None = None
    wait_for_model: bool | None = None


class HfBody(Asking):
    inputs: str | dict[str, Any] | list[Any] | None = None
    question: str | None = None
    image: str | None = None
    parameters: HfParameters | None = None
    options: Options | None = None
    stream: bool | None = None
    store: bool | None = None


class HfInputs(Wire):
    image: str | None = None
    images: str | list[str] | None = None
    text: str | list[Any] | None = None
    question: str | None = None
