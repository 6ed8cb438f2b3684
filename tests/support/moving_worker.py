"""`worker.app` where transformers' video processors work: a stand-in plays a torchvision that is missing."""

import transformers

from tests.support.families.stand_ins import videos
from worker.app import app

__all__ = ["app"]
videos(transformers.Qwen2VLConfig)
