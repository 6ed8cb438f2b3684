"""OpenAI's synchronous doors."""

from fastapi import APIRouter, Request, Response

from api.completions import CHAT, TEXT, complete
from api.dialects.openai_chat import ChatBody
from api.dialects.openai_completions import CompletionBody
from api.openapi import CHAT_EXAMPLE, PROMPT_EXAMPLE, SYNCHRONOUS, answers, describe
from api.plain_route import PlainRoute

router = APIRouter(
    route_class=PlainRoute,
    tags=["openai"],
    responses=answers("OpenAIError", _200="The answer, whole or a stream."),
)


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures; the answer is whole or a stream.",
    openapi_extra=describe(ChatBody, *SYNCHRONOUS, example=CHAT_EXAMPLE),
)
async def chat_completions(request: Request) -> Response:
    return await complete(request, CHAT)


@router.post(
    "/v1/completions",
    summary="Continue a text.",
    openapi_extra=describe(CompletionBody, *SYNCHRONOUS, example=PROMPT_EXAMPLE),
)
async def completions(request: Request) -> Response:
    return await complete(request, TEXT)
