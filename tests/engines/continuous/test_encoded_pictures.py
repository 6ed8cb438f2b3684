"""Containers of encoded pictures, as families of models name them."""

import torch
from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModelOutput

from worker.engines.continuous.model_inputs import EncodedPictures


def test_pictures_are_reused_where_an_encoder_promises_more_outputs_than_the_model_reads() -> None:
    given = TimmWrapperModelOutput(last_hidden_state=torch.ones(1, 5, 8), pooler_output=torch.ones(1, 4, 8))
    encoded = EncodedPictures.of(given)
    assert encoded is not None
    assert encoded.part(1, 3).output().pooler_output.shape == (1, 2, 8)
