"""Imported before workers are forked: what transformers imports and computes only once a model is loaded.

It is the same for every family, and touches no device.
"""

import transformers.image_processing_utils
import transformers.modeling_layers
import transformers.models.auto.modeling_auto
import transformers.models.auto.processing_auto
import transformers.processing_utils  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

# It compiles a thousand patterns, and keeps them (transformers 5.23).
get_checkpoint_conversion_mapping("")  # type: ignore[no-untyped-call]
