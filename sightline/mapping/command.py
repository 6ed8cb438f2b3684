"""`sightline map`: the command."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import uvloop
from typer import Argument, Option

from sightline.commands import Json, MaxTokens, Model, Url, Wait, commands, examples
from sightline.exits import CommandError, Exit
from sightline.mapping.caller import Caller, connected
from sightline.mapping.output import check_output, check_replaced
from sightline.mapping.question import Question
from sightline.mapping.rows import Source, left_out_words, source
from sightline.mapping.run import UNASKABLE, Progress, map_rows, why
from sightline.progress import Bar
from sightline.terminal import note, show_facts, show_json, span

SAMPLE = 8
"""Rows whose tokens a dry run asks for."""
SHOWN = 50
"""Distinct failures that are printed; the receipt has all."""
app = commands()


@app.command(
    "map",
    epilog=examples(
        'sightline map "What is in this picture?" --input photos/ --output answers.jsonl',
        'sightline map "Is {product} in it?" --input "shop/*.jpg" --output seen.jsonl --dry-run',
        'sightline map "What is {name}?" --input rows.parquet --output seen.parquet --schema seen.json',
        'sightline map "What is it?" --input s3://bucket/photos --output answers.jsonl',
    ),
)
def _map(
    question: Annotated[str, Argument(help="what to ask of each row; {column} stands for a column's value")],
    input: Annotated[
        str,
        Option("--input", metavar="INPUT", help="a folder, glob, table, data set or bucket"),
    ],
    output: Annotated[
        Path, Option("--output", parser=Path, metavar="FILE", help="ends in .jsonl, .csv or .parquet")
    ],
    column: Annotated[str | None, Option(help="a table's column of paths, URLs or bytes")] = None,
    schema: Annotated[
        Path | None, Option(parser=Path, metavar="FILE", help="JSON Schema: its properties become columns")
    ] = None,
    model: Model = None,
    max_tokens: MaxTokens = None,
    dry_run: Annotated[bool, Option("--dry-run", help="print rows, tokens and time; ask nothing")] = False,
    wait: Wait = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a question about each row of an input, and write the answers to a file.

    Stopped or killed, the same command goes on where it stopped: what has ended is in FILE.journal, and what
    was submitted is not submitted again. Rows wait after all other work. The output is in the order of the
    input; its receipt is printed and in FILE.receipt.json.
    """
    from sightline.follow import check_paused
    from sightline.question import first_model
    from sightline.service_client import client_of, host_of, service_url

    url = url or service_url()
    host_of(url)
    options: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "column": column}
    options |= {"schema": _read(schema), "url": url}
    if dry_run:
        facts = uvloop.run(_forecast(question, input, output, **options))
        (show_json if as_json else _show_forecast)(facts)
        return
    with client_of(url) as client:
        check_paused(client, model or first_model(client), wait=wait)
    with Bar("asking") as bar:
        shown = _lines() if bar.disable else lambda it: bar.show(it.done, it.total, _words(it))
        receipt = uvloop.run(map_rows(question, input, output, show=shown, **options))
    (show_json if as_json else _show_receipt)(asdict(receipt))
    if receipt.rows and not receipt.answered:
        raise CommandError(Exit.JOB, "No row was answered; the output says why.")


def _read(schema: Path | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        value = json.loads(schema.read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CommandError(Exit.USAGE, f"{schema} holds no JSON Schema.")
    return value


async def _forecast(
    question: str, input: str, output: Path, *, column: str | None, url: str, model: str | None, **asked: Any
) -> dict[str, Any]:
    """What a map would take, from its first rows; nothing is submitted. Raises CommandError."""
    check_output(output)
    rows = await asyncio.to_thread(source, input, column)
    count = await asyncio.to_thread(rows.count)
    async with connected(url) as clients:
        caller = Caller(clients)
        whole = Question(question, model or await caller.model(), **asked)
        check_replaced(output, input, whole)
        whole.check(await asyncio.to_thread(rows.columns))
        forecasts, failures = await _estimates(caller, whole, rows, count)
    tokens = [forecast["tokens"] for forecast in forecasts]
    known = [counts["prompt"] for counts in tokens if counts["prompt"] is not None]
    return {
        "rows": count,
        "model": whole.model,
        "tokens_in": round(sum(known) / len(known) * count) if known else None,
        "tokens_out_at_most": max((counts["answer_at_most"] for counts in tokens), default=0) * count,
        "time_s": next(filter(None, map(_time, forecasts)), None),
        "failures": [str(failure) for failure in failures],
        "left_out": rows.left_out,
        "refusal": next(filter(None, (forecast.get("refusal") for forecast in forecasts)), None),
    }


def _time(forecast: dict[str, Any]) -> tuple[float, float] | None:
    """From now to the end of the last row: met half the time, and nine times in ten."""
    if (estimate := forecast.get("estimate")) is None:
        return None
    return estimate["p50"] + estimate["service_s"], estimate["p90"] + estimate["service_s"]


async def _estimates(
    caller: Caller, question: Question, rows: Source, count: int
) -> tuple[list[dict[str, Any]], list[Exception]]:
    """Return those of the first rows, and why some cannot be asked. Raises CommandError if none can."""
    forecasts, failures = list[dict[str, Any]](), list[Exception]()
    for row in islice(rows.rows(), SAMPLE):
        try:
            forecasts.append(await caller.estimate(question.body(row), count))
        except (CommandError, *UNASKABLE) as failure:
            code = getattr(failure, "code", None)
            if code is Exit.UNREACHABLE:
                raise
            code = code if isinstance(code, Exit) else Exit.USAGE
            failures.append(CommandError(code, f"{row.name or 'A row'}: {why(failure)}"))
    if not forecasts:
        raise failures[0]
    return forecasts, failures


def _show_forecast(facts: dict[str, Any]) -> None:
    def shown() -> Iterator[tuple[str, str | None]]:
        tokens, time, refusal = facts["tokens_in"], facts["time_s"], facts["refusal"]
        yield "rows", str(facts["rows"])
        yield "model", facts["model"]
        yield "tokens", "not known yet" if tokens is None else f"about {tokens} in"
        yield "answers", f"at most {facts['tokens_out_at_most']} tokens in all"
        yield "time", f"{span(time[0])} to {span(time[1])}" if time else "not known yet"
        for failure in facts["failures"]:
            yield "failure", failure
        yield from (("left out", left_out_words(*item)) for item in facts["left_out"].items())
        yield "refusal", refusal and f"{refusal['code']}: {refusal['detail']}"

    show_facts(shown())


def _lines() -> Callable[[Progress], None]:
    """Return what prints a line at each tenth, and whenever rows wait for another reason."""
    noted, last_reason = set[int](), ""

    def show(progress: Progress) -> None:
        nonlocal last_reason
        tenth, reason = 10 * progress.done // max(progress.total, 1), progress.waits.partition(",")[0]
        if tenth not in noted or reason not in ("", last_reason):
            noted.add(tenth)
            last_reason = reason
            note(f"{progress.done} of {progress.total} rows, {_words(progress)}")

    return show


def _words(progress: Progress) -> str:
    words = [f"{progress.failed} failed"]
    if progress.kept:
        words += [f"{progress.kept} already written"]
    return ", ".join(words + [progress.waits] * bool(progress.waits))


def _show_receipt(receipt: dict[str, Any]) -> None:
    def shown() -> Iterator[tuple[str, str]]:
        for name, value in receipt.items():
            if name == "failures":
                for one in value[:SHOWN]:
                    rows = ", ".join(one["rows"]) + ", …" * (one["count"] > len(one["rows"]))
                    yield "failure", f"{one['count']} {one['code']}: {one['message']} ({rows})"
            elif name == "left_out":
                yield from (("left out", left_out_words(*item)) for item in value.items())
            else:
                yield name, str(value)

    show_facts(shown())
