"""OpenAI's synchronous doors."""

from fastapi import APIRouter, Request, Response

from api.completions import CHAT, TEXT, complete

router = APIRouter(tags=["openai"])


@router.post("/v1/chat/completions", summary="Ask about pictures; the answer is whole or a stream.")
async def chat_completions(request: Request) -> Response:
    return await complete(request, CHAT)


@router.post("/v1/completions", summary="Continue a text.")
async def completions(request: Request) -> Response:
    return await complete(request, TEXT)
