"""The route of OpenAI's chat completions, which answers in the same call."""

from typing import Annotated

from fastapi import APIRouter, Request

from api.admission.headers import SyncHeaders
from api.answers.completions import complete
from api.dialects.openai.chat import (
    ChatBody,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    from_chat,
)
from api.openapi import examples
from api.openapi.responses import CHAT_ANSWER, body, refusals
from api.server.route import Json, json_body
from api.server.sse import EventStream

ChatCall = Annotated[Completion, json_body(from_chat)]

router = APIRouter(
    tags=["openai"],
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504),
)


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures; the answer is whole or a stream.",
    response_model=ChatCompletion,
    responses={200: CHAT_ANSWER},
    openapi_extra=body(ChatBody, examples.CHAT),
)
async def chat_completions(
    http: Request, headers: SyncHeaders, chat: ChatCall
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    return await complete(http, headers, chat)
