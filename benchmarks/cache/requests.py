"""Requests at random, of every shape that the service takes; and the same request written differently."""

import json
import random
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from shared.request import (
    Format,
    Function,
    Image,
    Message,
    Parameters,
    Part,
    RepetitionDetection,
    Request,
    Role,
    Sound,
    Text,
    ToolCall,
    Tools,
)

MODELS = ("org/model", "org/other")
ROLES: tuple[Role, ...] = ("system", "user")
WORDS = ("what", "is", "café", "cafe\u0301", "a", "A", "job", "?", "0", "00", "1.0", "\n", "  ", "日本")
REPETITION = [RepetitionDetection(max_pattern_size=size, min_count=2) for size in (1, 4, 8)]
PARAMETERS: dict[str, Sequence[Any]] = {
    "max_new_tokens": range(1, 65),
    "min_new_tokens": range(9),
    "do_sample": (False, True),
    "temperature": (0.0, 0.1, 1.0, 1.0000000000000002, 2.0),
    "top_p": (0.1, 0.5, 0.9999999999999999, 1.0),
    "top_k": range(51),
    "min_p": (0.0, 0.05, 0.5),
    "typical_p": (0.2, 0.95, 1.0),
    "repetition_penalty": (0.5, 1.0, 1.2),
    "frequency_penalty": (-2.0, -0.5, 0.0, 0.5),
    "presence_penalty": (-2.0, -0.5, 0.0, 0.5),
    "no_repeat_ngram_size": (0, 2, 100),
    "logit_bias": [
        ((a, x), (b, y)) for a, b in ((0, 1), (1, 8), (3, 2)) for x in (-1.0, 0.0) for y in (0.0, 1.0)
    ],
    "seed": (-1, 0, 1, 2**63 - 1),
    "stop": [some for length in range(4) for some in permutations(WORDS, length)],
    "stop_token_ids": [some for length in range(4) for some in permutations(range(9), length)],
    "logprobs": range(21),
    "format": [
        Format(kind=k, content=c) for k in ("json", "regex", "choice") for c in ("[]", "{}", "a", "a b")
    ],
    "n": range(1, 9),
    "ignore_eos": (False, True),
    "skip_special_tokens": (False, True),
    "chat_template_kwargs": ((), *((("a", x),) for x in (True, 1, 1.5, "1")), (("b", 1), ("a", 1))),
    "num_frames": range(1, 9),
    "fps": (0.5, 1.0, 2.0),
    "min_pixels": range(1, 1000),
    "max_pixels": range(1000, 10000),
    "repetition_detection": REPETITION,
    "include_reasoning": (False, True),
}
"""Values of each parameter; a test compares the names with the request's own."""


def draw_request(dice: random.Random) -> Request:
    """Any request; calls are answered by turns that follow them."""
    messages = [_turn(dice, role) for role in ROLES[dice.randint(0, 1) :]]
    if dice.random() < 0.4:
        messages += _tool_turns(dice)
    drawn = {name: dice.choice(values) for name, values in PARAMETERS.items() if dice.random() < 0.3}
    return Request(
        model=dice.choice(MODELS),
        messages=tuple(messages),
        parameters=Parameters(**drawn),
        tools=tools(dice) if dice.random() < 0.4 else None,
        continue_final=dice.random() < 0.2,
    )


def tools(dice: random.Random) -> Tools:
    functions = tuple(_function(dice, number) for number in range(dice.randint(1, 3)))
    named = dice.choice((None, functions[0].name))
    return Tools(functions=functions, required=dice.random() < 0.5, named=named, parallel=dice.random() < 0.5)


def text(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(1, 6)))


def part(dice: random.Random) -> Part:
    kind = dice.random()
    if kind < 0.6:
        return Text(text=text(dice))
    name = f"{dice.getrandbits(256):064x}"
    return Image(digest=name) if kind < 0.85 else Sound(digest=name)


def schema(dice: random.Random) -> str:
    return json.dumps({"type": dice.choice(("object", "string")), "title": dice.choice(WORDS)})


def _turn(dice: random.Random, role: Role) -> Message:
    return Message(role=role, parts=tuple(part(dice) for _ in range(dice.randint(1, 3))))


def _tool_turns(dice: random.Random) -> list[Message]:
    """An assistant calls, tools answer in some order, and the caller goes on."""
    calls = tuple(
        ToolCall(id=f"call_{dice.getrandbits(64):x}", name=dice.choice(WORDS), arguments=schema(dice))
        for _ in range(dice.randint(1, 3))
    )
    answers = [
        Message(role="tool", parts=(Text(text=text(dice)),), answers=call.id)
        for call in dice.sample(calls, len(calls))
    ]
    return [Message(role="assistant", parts=(), calls=calls), *answers, _turn(dice, "user")]


def _function(dice: random.Random, number: int) -> Function:
    return Function(
        name=f"f{number}{dice.choice(WORDS)}",
        description=dice.choice((None, text(dice))),
        parameters=schema(dice),
        strict_schema=dice.choice((None, schema(dice))),
    )


def rewrite(dice: random.Random, request: Request) -> Request:
    """Return it from another JSON: keys and sets in any order, repeats, minus zero, other call ids."""
    body = request.model_dump(mode="json", exclude_none=dice.random() < 0.5)
    parameters = body["parameters"]
    for name in ("stop", "stop_token_ids", "logit_bias", "chat_template_kwargs"):
        if parameters.get(name):
            dice.shuffle(parameters[name])
    for name in ("stop", "stop_token_ids"):
        if parameters.get(name):
            parameters[name].append(dice.choice(parameters[name]))
    _rename_calls(body["messages"])
    parameters |= {name: -0.0 for name, value in parameters.items() if value == 0.0 and type(value) is float}
    return _as_other_dialect(Request.model_validate_json(json.dumps(_shuffled(dice, body))))


def _rename_calls(messages: list[dict[str, Any]]) -> None:
    """Renames each call's id, where it is made and where it is answered."""
    for message in messages:
        for call in message.get("calls", []):
            call["id"] += "x"
        if message.get("answers"):
            message["answers"] += "x"


def _shuffled(dice: random.Random, node: Any) -> Any:
    if isinstance(node, dict):
        keys = dice.sample(list(node), len(node))
        return {key: _shuffled(dice, node[key]) for key in keys}
    return [_shuffled(dice, row) for row in node] if isinstance(node, list) else node


def _as_other_dialect(request: Request) -> Request:
    """The request as from another dialect, where fields stood in other places of the body."""
    messages: tuple[Message, ...] = tuple(
        message.model_copy(update={"param": f"input[{at}]"}) for at, message in enumerate(request.messages)
    )
    return request.model_copy(update={"messages": messages, "named": {"messages": "input"}})
