"""Requests at random, of every shape that the service takes; and the same request written differently."""

import json
import random
from collections.abc import Callable
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
WORDS = (
    "what",
    "is",
    "this",
    "café",
    "cafe\u0301",
    "a",
    "A",
    "job",
    "?",
    "0",
    "00",
    "1.0",
    "\n",
    "  ",
    "日本",
)
Draw = Callable[[random.Random], Any]
PARAMETERS: dict[str, Draw] = {
    "max_new_tokens": lambda dice: dice.randint(1, 64),
    "min_new_tokens": lambda dice: dice.randint(0, 8),
    "do_sample": lambda dice: dice.random() < 0.5,
    "temperature": lambda dice: dice.choice((0.0, 0.1, 1.0, 1.0000000000000002, 2.0)),
    "top_p": lambda dice: dice.choice((0.1, 0.5, 0.9999999999999999, 1.0)),
    "top_k": lambda dice: dice.randint(0, 50),
    "min_p": lambda dice: dice.choice((0.0, 0.05, 0.5)),
    "typical_p": lambda dice: dice.choice((0.2, 0.95, 1.0)),
    "repetition_penalty": lambda dice: dice.choice((0.5, 1.0, 1.2)),
    "frequency_penalty": lambda dice: dice.choice((-2.0, -0.5, 0.0, 0.5)),
    "presence_penalty": lambda dice: dice.choice((-2.0, -0.5, 0.0, 0.5)),
    "no_repeat_ngram_size": lambda dice: dice.choice((0, 2, 100)),
    "logit_bias": lambda dice: tuple(
        (token, dice.choice((-1.0, 0.0, 1.0))) for token in dice.sample(range(9), 2)
    ),
    "seed": lambda dice: dice.choice((-1, 0, 1, 2**63 - 1)),
    "stop": lambda dice: tuple(dice.sample(WORDS, dice.randint(0, 3))),
    "stop_token_ids": lambda dice: tuple(dice.sample(range(9), dice.randint(0, 3))),
    "logprobs": lambda dice: dice.randint(0, 20),
    "format": lambda dice: Format(
        kind=dice.choice(("json", "regex", "choice")), content=dice.choice(("[]", "{}", "a", "a b"))
    ),
    "n": lambda dice: dice.randint(1, 8),
    "ignore_eos": lambda dice: dice.random() < 0.5,
    "skip_special_tokens": lambda dice: dice.random() < 0.5,
    "chat_template_kwargs": lambda dice: tuple(
        (name, dice.choice((True, 1, 1.5, "1"))) for name in dice.sample(("a", "b", "c"), dice.randint(0, 2))
    ),
    "num_frames": lambda dice: dice.randint(1, 8),
    "fps": lambda dice: dice.choice((0.5, 1.0, 2.0)),
    "min_pixels": lambda dice: dice.randint(1, 999),
    "max_pixels": lambda dice: dice.randint(1000, 9999),
    "repetition_detection": lambda dice: RepetitionDetection(
        max_pattern_size=dice.randint(1, 8), min_count=2
    ),
    "include_reasoning": lambda dice: dice.random() < 0.5,
}
"""A value of each parameter; a test compares the names with the request's own."""


def draw_request(dice: random.Random) -> Request:
    """Any request; calls are answered by turns that follow them."""
    messages = [_turn(dice, role) for role in ROLES[dice.randint(0, 1) :]]
    if dice.random() < 0.4:
        messages += _tool_turns(dice)
    drawn = {name: draw(dice) for name, draw in PARAMETERS.items() if dice.random() < 0.3}
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
    """The same request from another JSON: keys and sets in any order, repeats, minus zero, other call ids."""
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
