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
from api.dialects.strict_json import parse
from api.openapi import examples
from api.openapi.responses import CHAT_ANSWER, body_example, refusals
from api.server.body import RawBody
from api.server.route import Json, ServiceRoute, raw_body
from api.server.sse import EventStream

ChatCall = Annotated[RawBody[Completion], raw_body(ChatBody, lambda raw, _: from_chat(parse(raw)))]

router = APIRouter(
    route_class=ServiceRoute,
    tags=["openai"],
    responses=refusals("OpenAIError", 400, 404, 408, 409, 410, 413, 422, 429, 500, 503, 504),
)


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures; the answer is whole or a stream.",
    responses={200: CHAT_ANSWER},
    openapi_extra=body_example(examples.CHAT),
)
async def chat_completions(
    http: Request, headers: SyncHeaders, chat: ChatCall
) -> Json[ChatCompletion] | EventStream[ChatCompletionChunk]:
    return await complete(http, headers, chat)
