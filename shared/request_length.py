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
            "together (SIGHTLINE_API__TEXT_LIMIT_KB), which exceeds the available context size, whatever the "
            "model's maximum context length. Shorten them."
        )
        raise CallerError("context_length_exceeded", message, param=request.named.get("messages", "messages"))


def fit_answer(request: Request, context_length: int | None) -> Request:
    """The request, whose longest answer is lowered to what the context can hold beside a prompt.

    Raises CallerError `context_length_exceeded` where the shortest one leaves no room for a prompt.
    """
    parameters, name = request.parameters, "min_new_tokens"
    if context_length is None:
        return request
    least = parameters.min_new_tokens
    if least is not None and least >= context_length:
        param = request.named.get(name, name)
        message = f"{takes(context_length)}; {least} leave no room for a prompt. Lower `{param}`."
        raise CallerError("context_length_exceeded", message, param=param)
    if parameters.max_new_tokens is None or parameters.max_new_tokens < context_length:
        return request
    lowered = parameters.model_copy(update={"max_new_tokens": max(1, context_length - 1)})
    return request.model_copy(update={"parameters": lowered})
