"""`sightline estimate`: what a submit would do."""

import argparse
from typing import Any

import httpx

from sightline.ask import PICTURE, first_model, picture_url
from sightline.commands import set_action
from sightline.exits import Exit
from sightline.job_commands import expected
from sightline.serving.service import fetched, speaking
from sightline.terminal import named, show_json

DESCRIPTION = (
    "Predicts whether a question would be answered from the cache, join another one, wait or be refused, how "
    "long it would wait and run, and how many tokens it has. Nothing is submitted or stored."
)


def add_estimate(command: argparse.ArgumentParser) -> None:
    command.description = DESCRIPTION
    command.epilog = (
        'Example: sightline estimate "What does the sign say?" --picture street.jpg; '
        "exit codes are listed by `sightline --help`."
    )
    command.add_argument("question", help="the question")
    command.add_argument("--picture", metavar="FILE|URL", help=PICTURE)
    command.add_argument("--model", help="id of the model (default: the first one served)")
    command.add_argument("--max-tokens", type=int, metavar="N", help="maximum length of the answer")
    set_action(command, _estimate)


def _estimate(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    with speaking(client):
        model = arguments.model or first_model(client)
    image = arguments.picture and picture_url(arguments.picture)
    body = {
        "model": model,
        "input": {"prompt": arguments.question} | ({"image": image} if image else {}),
        "parameters": {"max_new_tokens": arguments.max_tokens},
    }
    forecast = fetched(client, "POST", "/v1/estimate", body=body)
    if arguments.json:
        show_json(forecast)
    else:
        print("\n".join(_lines(forecast)))
    return Exit.OK


def _lines(forecast: dict[str, Any]) -> list[str]:
    tokens, refusal = forecast["tokens"], forecast.get("refusal")
    prompt = (
        "not known yet"
        if tokens["prompt"] is None
        else f"{tokens['prompt']} in, {tokens['image']} of pictures"
    )
    waits = forecast.get("waiting_reason")
    return named(
        [
            (
                "outcome",
                f"{forecast['outcome']} ({waits}, {forecast['ahead']} ahead)"
                if waits
                else forecast["outcome"],
            ),
            ("refusal", refusal and f"{refusal['code']}: {refusal['detail']}"),
            ("model", forecast["model"]),
            ("estimate", expected(forecast.get("estimate"))),
            ("tokens", f"{prompt}; at most {tokens['answer_at_most']} out ({tokens['basis']})"),
            (
                "cost",
                f"{forecast['cost']['places']} in the queue, {forecast['cost']['turn']} answer tokens",
            ),
        ]
    )
