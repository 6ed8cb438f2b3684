"""One short question by every route, with what a caller says beside it."""

from collections.abc import Callable
from typing import Any

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from shared.request import Request

Read = Callable[..., Request]


def chat(**said: Any) -> Request:
    return from_chat({"messages": [{"role": "user", "content": "Hi"}], **said}).request


def job(**parameters: Any) -> Request:
    return from_job({"input": {"prompt": "Hi"}, "parameters": parameters}).request


def hf(**parameters: Any) -> Request:
    return from_hf({"inputs": "Hi", "parameters": parameters}).request


def nested(**parameters: Any) -> Request:
    """In the part of Hugging Face's body that transformers calls generate_kwargs."""
    return hf(generate_kwargs=parameters)


OPENAI: list[Read] = [chat, job]
ALL = [*OPENAI, hf]
