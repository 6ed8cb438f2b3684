"""The same question in other words: what a caller may write differently without asking for anything else."""

import json
import random
from typing import Any

from shared.request import Message, Request


def respelled(dice: random.Random, request: Request) -> Request:
    """The same request from another JSON: keys and sets in any order, repeats, minus zero, other call ids."""
    body = request.model_dump(mode="json", exclude_none=dice.random() < 0.5)
    parameters = body["parameters"]
    for name in ("stop", "stop_token_ids", "logit_bias", "chat_template_kwargs"):
        if parameters.get(name):
            dice.shuffle(parameters[name])
    for name in ("stop", "stop_token_ids"):
        if parameters.get(name):
            parameters[name].append(dice.choice(parameters[name]))
    _renamed(body["messages"])
    parameters |= {name: -0.0 for name, value in parameters.items() if value == 0.0 and type(value) is float}
    return _placed(Request.model_validate_json(json.dumps(_shuffled(dice, body))))


def _renamed(messages: list[dict[str, Any]]) -> None:
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


def _placed(request: Request) -> Request:
    """The request as from another dialect, where fields stood in other places of the body."""
    messages: tuple[Message, ...] = tuple(
        message.model_copy(update={"param": f"input[{at}]"}) for at, message in enumerate(request.messages)
    )
    return request.model_copy(update={"messages": messages, "named": {"messages": "input"}})
