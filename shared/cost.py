"""What a request costs its caller in line: an estimate in answer tokens, known before anything is computed.

Decoding one token takes about as long as reading ten of a prompt, or as unpacking fifty thousand pixels. A
picture or ten seconds of sound read as some hundred tokens, and an answer is taken to be as long as its
caller allows. Only ratios matter.
"""

from shared.models import Model
from shared.request import Request

BYTES_PER_TOKEN = 4
TOKENS_PER_PICTURE = 256
TOKENS_PER_SOUND = 256
READ_PER_DECODED = 10
PIXELS_PER_DECODED = 50_000


def cost(request: Request, model: Model, pixels: int) -> int:
    """At least 1. The prompt is read once for all answers that are wanted.

    `pixels` are those of all pictures whose sizes are known without reading any from the store.
    """
    text = sum(len(text.encode()) for text in request.texts)
    shown = TOKENS_PER_PICTURE * len(request.images) + TOKENS_PER_SOUND * len(request.sounds)
    read = text / BYTES_PER_TOKEN + shown
    prepared = round(read / READ_PER_DECODED + pixels / PIXELS_PER_DECODED)
    return max(1, prepared + answer_tokens(request, model))


def answer_tokens(request: Request, model: Model) -> int:
    """The most tokens that all wanted answers may have together."""
    wanted = request.parameters
    each = wanted.max_new_tokens or max(model.max_new_tokens, wanted.min_new_tokens or 0)
    return each * (wanted.n or 1)
