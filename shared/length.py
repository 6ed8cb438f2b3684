"""Refuses what is certainly too long, before anything is stored, rendered or counted in tokens.

Only the model's worker knows how many tokens a prompt has, and long texts cost it minutes to count.
"""

from shared.errors import CallerError
from shared.request import Request


def takes(context_length: int) -> str:
    """How a refusal begins where the model's context length is exceeded.

    OpenAI's own words, as vLLM says them too. Clients know the case by them and not by its code: LiteLLM asks
    the next model of `context_window_fallbacks`, and behind `huggingface/` knows those in brackets only.
    LangChain looks for "prompt is too long".
    """
    return f"This model's maximum context length is {context_length} tokens (length limit exceeded)"


def check_text(request: Request, limit_kb: int) -> None:
    """Raises CallerError `context_length_exceeded` for more than `limit_kb` KiB of UTF-8 together.

    Texts that no model is shown count as well: they are kept with the job.
    """
    texts = (*request.texts, *(function.text for function in request.unshown or ()))
    if sum(len(text.encode()) for text in texts) > limit_kb * 1024:
        # LiteLLM looks for "exceeds the available context size", LangChain.js for the words after it.
        message = (
            f"The prompt is too long (length limit exceeded): its texts have more than {limit_kb} KiB "
            "together, which exceeds the available context size whatever the model's maximum context length. "
            "Shorten them."
        )
        raise CallerError("context_length_exceeded", message, param=request.named.get("messages", "messages"))


def check_answer(request: Request, context_length: int | None) -> None:
    """Raises CallerError `context_length_exceeded` where the wanted answer leaves no room for a prompt."""
    for name in ("max_new_tokens", "min_new_tokens"):
        wanted = getattr(request.parameters, name)
        if wanted is not None and context_length is not None and wanted >= context_length:
            param = request.named.get(name, name)
            message = f"{takes(context_length)}; {wanted} leave no room for a prompt. Lower `{param}`."
            raise CallerError("context_length_exceeded", message, param=param)


def check_end(request: Request) -> None:
    """Raises CallerError `invalid_request` for `ignore_eos` with an answer that ends with its form."""
    held = request.parameters.format is not None or (request.tools is not None and request.tools.held)
    if request.parameters.ignore_eos and held:
        message = "An answer that is held to a form ends where that is complete; leave `ignore_eos` out."
        raise CallerError("invalid_request", message, param=request.named.get("ignore_eos", "ignore_eos"))
