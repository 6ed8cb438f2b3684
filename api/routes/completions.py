"""Routes of OpenAI's chat completions and completions, which answer in the same call."""

from fastapi import APIRouter, Request, Response

from api.answers.completions import CHAT, TEXT, complete
from api.dialects.openai.chat import ChatBody
from api.dialects.openai.completions import CompletionBody
from api.openapi import examples
from api.openapi.document import SYNCHRONOUS, describe
from api.openapi.responses import CHAT_ANSWER, TEXT_ANSWER, refusals
from api.server.route import PlainRoute

router = APIRouter(
    route_class=PlainRoute,
    tags=["openai"],
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504),
)


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures; the answer is whole or a stream.",
    responses={200: CHAT_ANSWER},
    openapi_extra=describe(ChatBody, *SYNCHRONOUS, example=examples.CHAT),
)
async def chat_completions(request: Request) -> Response:
    return await complete(request, CHAT)


@router.post(
    "/v1/completions",
    summary="Continue a text.",
    responses={200: TEXT_ANSWER},
    openapi_extra=describe(CompletionBody, *SYNCHRONOUS, example=examples.COMPLETION),
)
async def completions(request: Request) -> Response:
    return await complete(request, TEXT)
