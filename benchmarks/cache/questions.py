"""Requests at random, of every shape that the service takes."""

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
    Request,
    Role,
    Sound,
    Text,
    ToolCall,
    Tools,
)

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
    "chat_template_kwargs": lambda dice: tuple(
        (name, dice.choice((True, 1, 1.5, "1"))) for name in dice.sample(("a", "b", "c"), dice.randint(0, 2))
    ),
}
"""A value of each parameter; a test compares the names with the request's own."""


def drawn(dice: random.Random) -> Request:
    """Any request; calls are answered by turns that follow them."""
    messages = [_turn(dice, role) for role in ROLES[dice.randint(0, 1) :]]
    if dice.random() < 0.4:
        messages += _called(dice)
    return Request(
        model=dice.choice(("org/model", "org/other")),
        messages=tuple(messages),
        parameters=parameters(dice),
        tools=tools(dice) if dice.random() < 0.4 else None,
        continue_final=dice.random() < 0.2,
        raw=dice.random() < 0.2,
    )


def parameters(dice: random.Random) -> Parameters:
    return Parameters(**{name: draw(dice) for name, draw in PARAMETERS.items() if dice.random() < 0.3})


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


def _called(dice: random.Random) -> list[Message]:
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
        held=dice.choice((None, schema(dice))),
    )
