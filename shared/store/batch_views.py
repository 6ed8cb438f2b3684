"""Reading the replies of the scripts of batches."""

import json
from typing import Any, cast

from shared.batch import Batch, BatchLease, LineAnswer, LineProblem, Stage, Tokens
from shared.result import Result
from shared.store.views import integer, job_error, pairs


def batch(flat: list[Any]) -> Batch:
    fields = pairs(flat)
    stages = {name.removesuffix("_at"): int(ms) for name, ms in fields.items() if name.endswith("_at")}
    return Batch(
        id=fields["id"],
        caller=fields["caller"],
        stage=cast(Stage, fields["stage"]),
        file=fields["file"],
        digest=fields["digest"],
        endpoint=fields["endpoint"],
        created_ms=int(fields["created"]),
        expires_ms=int(fields["expires"]),
        life_s=int(fields["life_s"]),
        metadata=json.loads(fields["metadata"]),
        stages_ms=stages,
        max_queued=integer(fields, "max_queued"),
        retain_s=integer(fields, "retain_s"),
        at=int(fields["at"]),
        row=int(fields["row"]),
        last=integer(fields, "last"),
        total=integer(fields, "total"),
        completed=int(fields["completed"]),
        failed=int(fields["failed"]),
        late=int(fields["late"]),
        wrote_ms=integer(fields, "wrote"),
        tokens=Tokens(*(int(fields[f"{kind}_tokens"]) for kind in ("input", "output", "cached"))),
        errors=tuple(LineProblem(**problem) for problem in json.loads(fields.get("errors", "[]"))),
        output=fields.get("output"),
        error=fields.get("error"),
        gone="gone" in fields,
    )


def known(reply: list[Any] | None) -> Batch | None:
    return batch(reply) if reply else None


def turn(reply: list[Any], token: str) -> BatchLease:
    fields, doubles, *counts = reply
    return BatchLease(batch(fields), token, frozenset(map(int, doubles)), *map(int, counts))


def answers(reply: list[Any] | None) -> list[LineAnswer] | None:
    return None if reply is None else [_answer(*row) for row in reply]


def jobs(reply: list[Any] | None) -> list[str] | None:
    return None if reply is None else [json.loads(line)["job"] for _, line, _ in reply]


def _answer(number: str, line: str, answer: str) -> LineAnswer:
    taken, ended = json.loads(line), json.loads(answer)
    result, error = ended.get("result"), ended.get("error")
    return LineAnswer(
        number=int(number),
        custom_id=taken["custom_id"] or None,
        status=ended["status"],
        job=taken.get("job"),
        model=taken.get("model", ""),
        created_ms=int(taken.get("created", 0)),
        ended_ms=int(ended.get("ended", 0)),
        at=int(taken.get("at", 0)),
        behind=int(taken.get("behind", 0)),
        result=Result.model_validate_json(result) if result else None,
        error=job_error(error, ended.get("paths")) if error else None,
    )
