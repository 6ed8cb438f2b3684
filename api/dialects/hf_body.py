"""The bodies of Hugging Face's raw route; what their `inputs` mean is in `hf`."""

from typing import Annotated, Any

from api.dialects.asking import Asking
from api.dialects.formats import Grammar
from api.dialects.harmless import Harmless
from api.dialects.sampling import Count, Sampling
from api.dialects.strict_json import Wire


class Generation(Sampling):
    """`parameters` and `generate_kwargs` alike.

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
    best_of: Annotated[int | None, Harmless(1)] = None
    clean_up_tokenization_spaces: Annotated[bool | None, Harmless()] = None
    decoder_input_details: Annotated[bool | None, Harmless(False)] = None
    details: Annotated[bool | None, Harmless(False)] = None
    early_stopping: Annotated[bool | str | None, Harmless(False)] = None
    epsilon_cutoff: Annotated[float | None, Harmless(0.0)] = None
    eta_cutoff: Annotated[float | None, Harmless(0.0)] = None
    max_length: Annotated[int | None, Harmless()] = None
    max_time: Annotated[float | None, Harmless()] = None
    min_length: Annotated[int | None, Harmless(0)] = None
    num_beam_groups: Annotated[int | None, Harmless(1)] = None
    num_beams: Annotated[int | None, Harmless(1)] = None
    penalty_alpha: Annotated[float | None, Harmless(0.0)] = None
    top_n_tokens: Annotated[int | None, Harmless(0)] = None
    truncate: Annotated[int | None, Harmless()] = None
    watermark: Annotated[bool | None, Harmless(False)] = None


class HfParameters(Generation):
    details: bool | None = None
    return_full_text: bool | None = None
    store: bool | None = None
    generate_kwargs: dict[str, Any] | None = None
    generation_parameters: dict[str, Any] | None = None
    adapter_id: Annotated[str | None, Harmless()] = None
    doc_stride: Annotated[int | None, Harmless()] = None
    handle_impossible_answer: Annotated[bool | None, Harmless(False)] = None
    lang: Annotated[str | None, Harmless()] = None
    max_answer_len: Annotated[int | None, Harmless()] = None
    max_question_len: Annotated[int | None, Harmless()] = None
    max_seq_len: Annotated[int | None, Harmless()] = None
    word_boxes: Annotated[list[Any] | None, Harmless()] = None


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
