"""Logprobs on each wire: the bodies that OpenAI's clients read, and nothing where nobody asked."""

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from api.dialects.openai.chat import ChatChunkWriter, ChunkHead, chat_chunk, to_completion
from shared.job import JobView
from shared.result import Candidate, Logprobs, Piece, TokenLogprob, joined
from tests.support.golden import assert_golden
from tests.support.views import QUEUED, answered, result_of

RED, BLUE, END = Candidate(" red", -0.25), Candidate(" blue", -1.5), Candidate("<|end|>", -9999.0, ())
HALF, OTHER = Candidate("\\xc3", -2.0, (0xC3,)), Candidate("\\xa9", -0.0625, (0xA9,))
TOLD: Logprobs = (
    TokenLogprob(0, RED, (RED, BLUE)),
    TokenLogprob(4, HALF, (END, BLUE)),
    TokenLogprob(4, OTHER, (OTHER, RED)),
)
HEAD = ChunkHead("cmpl-1", "org/model", 1_700_000_000)


def told(logprobs: Logprobs | None) -> JobView:
    return answered(" red\u00e9", choice={"logprobs": logprobs})


def test_a_chats_logprobs_are_those_that_openai_writes() -> None:
    whole = to_completion(told(TOLD))
    chunk = chat_chunk(HEAD, 0, {"content": " red\u00e9"}, logprobs=TOLD)
    assert_golden("chat_logprobs", chunk["choices"][0]["logprobs"])
    read = ChatCompletion.model_validate(whole, strict=True).choices[0].logprobs
    streamed = ChatCompletionChunk.model_validate(chunk, strict=True).choices[0].logprobs
    assert read is not None
    assert read.content is not None
    assert streamed is not None
    assert streamed.content == read.content
    octets = [octet for token in read.content for octet in token.bytes or ()]
    assert bytes(octets).decode() == " red\u00e9"
    assert read.content[1].top_logprobs[0].bytes == []


@pytest.mark.parametrize("logprobs", [(), None])
def test_a_stream_of_an_answer_without_text_tells_what_the_whole_answer_does(
    logprobs: Logprobs | None,
) -> None:
    view = told(logprobs)
    [chunk] = ChatChunkWriter(QUEUED, usage=False).ending(result_of(view))
    assert chunk["choices"][0]["logprobs"] == to_completion(view)["choices"][0]["logprobs"]
    assert (chunk["choices"][0]["logprobs"] is None) == (logprobs is None)


def test_pieces_joined_keep_the_logprobs_of_each() -> None:
    assert joined([Piece(0, "a", (1,), TOLD[:1]), Piece(1, "b", (2, 3), TOLD[1:])]) == Piece(
        0, "ab", (1, 2, 3), TOLD
    )
    assert joined([Piece(0, "a", (1,)), Piece(1, "b", (2,))]) == Piece(0, "ab", (1, 2))
