"""`sightline estimate`: what a submit would do."""

from collections.abc import Iterator
from typing import Annotated, Any

from typer import Argument

from sightline.chat import first_model, part_of, question_of
from sightline.commands import FileArguments, Files, Json, MaxTokens, Model, Url, commands, examples
from sightline.jobs import expected
from sightline.service_client import client_of, fetched, speaking
from sightline.terminal import show, show_facts

app = commands()


@app.command("estimate", epilog=examples('sightline estimate "What does the sign say?" street.jpg'))
def _estimate(
    question: Annotated[str, Argument(help="the question")],
    files: FileArguments = None,
    file: Files = None,
    model: Model = None,
    max_tokens: MaxTokens = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Predict what a submit would do; nothing is submitted or stored.

    Says whether a question would be answered from the cache, join another one, wait or be refused, how long
    it would wait and run, and how many tokens it has.
    """
    with client_of(url) as client:
        parts = [part_of(name) for name in (*(files or ()), *(file or ()))]
        with speaking(client):
            model = model or first_model(client)
        body = {
            "model": model,
            "messages": [question_of(question, parts)],
            "parameters": {"max_new_tokens": max_tokens},
        }
        forecast = fetched(client, "POST", "/v1/estimate", body=body)
    show(forecast, as_json, lambda forecast: show_facts(_facts(forecast)))


def _facts(forecast: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    tokens, refusal = forecast["tokens"], forecast.get("refusal")
    waits = forecast.get("waiting_reason")
    # How busy it is, the estimate says: a row may be free.
    facts = [waits] * (waits != "busy") + [f"{forecast['ahead']} ahead"] if waits else []
    yield "outcome", forecast["outcome"] + (f" ({', '.join(facts)})" if facts else "")
    yield "refusal", refusal and f"{refusal['code']}: {refusal['detail']}"
    yield "model", forecast["model"]
    yield "estimate", expected(forecast.get("estimate"))
    known = tokens["prompt"] is not None
    prompt = f"{tokens['prompt']} in, {tokens['image']} of pictures" if known else "not known yet"
    yield "tokens", f"{prompt} ({tokens['basis']})"
    yield "answer", f"at most {tokens['answer_at_most']} tokens"
