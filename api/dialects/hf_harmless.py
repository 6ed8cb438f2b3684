"""Parameters of Hugging Face's tasks that are known by name but not implemented, each with the values that
ask for nothing. Other values are refused.
"""

from typing import Any

HARMLESS: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "clean_up_tokenization_spaces": (),
    "decoder_input_details": (False,),
    "details": (False,),
    "early_stopping": (False,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "max_length": (),
    "max_time": (),
    "min_length": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "penalty_alpha": (0.0,),
    "top_n_tokens": (0,),
    "truncate": (),
    "watermark": (False,),
}
DETAILS: dict[str, tuple[Any, ...]] = {"details": (False, True)}
"""Implemented in a body's `parameters`, but not in its `generate_kwargs`."""
PRECEDENCE = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
"""The older name and the newer that overrides it, by Hugging Face's own words; the older alone is refused."""
HARMLESS_TO_DOCUMENTS: dict[str, tuple[Any, ...]] = {
    "adapter_id": (),
    "doc_stride": (),
    "handle_impossible_answer": (False,),
    "lang": (),
    "max_answer_len": (),
    "max_question_len": (),
    "max_seq_len": (),
    "word_boxes": (),
}
