"""What callers do with their files and batches, and what becomes of them with time."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.batch import BatchLease, LinePosition, Stage, Tokens, UntakenLines, WrittenRows
from shared.file import Written
from shared.settings import QueueSettings, RetentionSettings, Settings
from shared.store import batches, files
from tests.store.machine.base import again, pick
from tests.store.machine.owned import (
    JOB_S,
    LIFE_S,
    LINE,
    MAX_QUEUED,
    MAX_QUEUED_CALLER,
    OwnedBatch,
    OwnedFile,
    Storage,
)
from tests.support import stored_batches
from tests.support.clock import Clock
from tests.support.invariants import misplaced
from tests.support.store import BROKEN, LANE, Records

T = TypeVar("T")
SETTINGS = Settings(
    queue=QueueSettings(max_queued=MAX_QUEUED, max_queued_caller=MAX_QUEUED_CALLER, lease_s=10**5),
    retention=RetentionSettings(result_s=10_028, job_s=JOB_S, event_s=20_038),
)
FOR_EVER_MS = 60 * 86_400_000
people = st.sampled_from(("anne", "anne", "bob"))
digests = st.sampled_from(tuple(letter * 64 for letter in "abc"))
spans = st.sampled_from((1, 1, 5, 12, 35, 350, 3605, 8050, 90_020))
PIECE = "9" * 64
LASTING = re.compile(r"sl7:(lanes|lane:.*|upkeep|keys:|batchers|mem)$")


class Owners(RuleBasedStateMachine):
    """Each transition at a time of its own; where its reply was lost, it is made once more."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        records.settings = SETTINGS
        self.records = records
        self.clock = Clock(records)
        self._sound = True

    @property
    def now(self) -> int:
        return self.records.now

    def advance(self, ms: int) -> None:
        self.clock.advance(ms)

    def do(self, transition: Callable[[], T], expected: Callable[[], T], *, again: bool = False) -> T:
        self._sound = False
        self.advance(1)
        reply = transition()
        self._same(reply, expected())
        if again:
            before = self.records.dump()
            self._same(transition(), expected())
            assert self.records.dump() == before
        return reply

    def _same(self, reply: object, expected: object) -> None:
        assert reply == expected, f"the store says {reply}, the model {expected}"

    def some(self, things: Sequence[T], at: int) -> T:
        """The newest for 0."""
        return things[-1 - at % len(things)]

    @rule(seconds=spans)
    def time_passes(self, seconds: int) -> None:
        self.advance(seconds * 1000)

    @invariant()
    def is_sound(self) -> None:
        self._sound = True

    def end_all(self) -> None:
        """Nothing is open any more."""

    def teardown(self) -> None:
        if not self._sound:
            return
        self.end_all()
        for _ in range(2):
            self.records.fold()
            self.advance(FOR_EVER_MS // 2)
        self.records.fold()
        left = [key for key in self.records.key_names() if not LASTING.match(key)]
        assert left == [], f"{left} outlive everything"


class Storing(Owners):
    """Files, and batches over them."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.model = Storage(self.now)
        self.leases: list[BatchLease] = []

    def advance(self, ms: int) -> None:
        super().advance(ms)
        self.model.now = self.now
        self.model.forget()

    def batch(self, at: int) -> OwnedBatch:
        return self.some(list(self.model.batches.values()), at)

    def lease(self, at: int) -> tuple[OwnedBatch, BatchLease]:
        """One that may be another process's by now."""
        lease = self.some(self.leases, at)
        return self.model.batches[lease.batch.id], lease

    @rule(caller=people, purpose=st.sampled_from(("batch", "batch", "vision")), digest=digests, again=again)
    def upload_file(self, caller: str, purpose: Any, digest: str, again: bool) -> None:
        upload, id = self.records.token(), f"file-{self.records.token()}"
        touch = files.touch([digest], upload)
        self.do(lambda: self.records.run(touch), lambda: self.model.touch(digest, upload), again=False)
        written = Written(id, "a.jsonl", purpose, 100, digest, LIFE_S, f"upload:{upload}")
        self.do(
            lambda: self.records.run(files.create(written, caller)).id,
            lambda: self.model.keep(OwnedFile(id, caller, purpose, digest, self.now + LIFE_S * 1000), upload),
            again=again,
        )

    @precondition(lambda self: self.model.files)
    @rule(at=pick, caller=people, again=again)
    def delete_file(self, at: int, caller: str, again: bool) -> None:
        id = self.some(list(self.model.files), at)
        orphans = self.do(
            lambda: self.records.run(files.delete(caller, id)),
            lambda: self.model.delete(id, caller),
            again=again,
        )
        assert self.records.run(files.deleted(orphans or [])) == []

    @precondition(lambda self: self.model.files)
    @rule(at=pick, caller=people, again=again)
    def open_batch(self, at: int, caller: str, again: bool) -> None:
        file, id = self.some(list(self.model.files), at), f"batch_{self.records.token()}"

        def create() -> str:
            changes = {"id": id, "file": file, "life_s": LIFE_S}
            return stored_batches.create(self.records, caller, **changes)[0]

        def expected() -> str:
            batch = OwnedBatch(id, caller, "", self.now + 86_400_000, self.now)
            return self.model.begin(batch, file)

        self.do(create, expected, again=again)

    @precondition(lambda self: self.model.batches)
    @rule(at=pick, again=again)
    def cancel_batch(self, at: int, again: bool) -> None:
        batch = self.batch(at)
        self.do(
            lambda: getattr(self.records.run(batches.cancel(batch.caller, batch.id)), "stage", None),
            lambda: self.model.cancel(batch),
            again=again and bool(batch.token),
        )

    @rule(total=st.integers(1, 4))
    def take_batch(self, total: int) -> None:
        """And look through its file, where nobody did."""
        token, taken = self.records.token(), list[Any]()

        def take() -> Any:
            taken.append(reply := self.records.run(batches.take(SETTINGS, token)))
            if not isinstance(reply, BatchLease):
                return reply
            return reply.batch.id, reply.under_way, reply.answered, reply.room

        self.do(take, lambda: self.model.take(token))
        if isinstance(taken[0], BatchLease):
            self.leases.append(taken[0])
            self.begin(0, total, again=False)

    @precondition(lambda self: self._leased())
    @rule(at=pick, total=st.integers(1, 4), again=again)
    def begin(self, at: int, total: int, again: bool) -> None:
        batch, lease = self.lease(at)

        def expected() -> str:
            word = self.model.step(batch, lease.token, fresh=batch.total is None)
            if word is None:
                batch.total = total
            return word or self.model.advance(batch)

        call = batches.begin(lease, total=total, last=total * LINE)
        self.do(lambda: self.records.run(call), expected, again=again)

    def _leased(self) -> bool:
        self.leases = [lease for lease in self.leases if lease.batch.id in self.model.batches]
        return bool(self.leases)

    @precondition(lambda self: any(batch.total for batch in self.model.batches.values()))
    @rule(at=pick, count=st.integers(1, 4), back=st.sampled_from((0, 0, 0, 1)), again=again)
    def submit_lines(self, at: int, count: int, back: int, again: bool) -> None:
        batch = self.some([batch for batch in self.model.batches.values() if batch.total], at)
        for _ in range(min(count, (batch.total or 0) - batch.row)):
            placing = self.records.placing(caller=batch.caller)
            place = self.place(batch, max(batch.row - back, 0))

            def submit(placing: Any = placing, place: LinePosition = place) -> str:
                return self.records.post(placing, line=place, quiet=True).word

            def expected(job: str = placing.job, begin: int = place.at) -> str:
                return self.model.submit(batch, begin, job)

            self.do(submit, expected, again=again)

    def place(self, batch: OwnedBatch, row: int) -> LinePosition:
        return LinePosition(batch.id, row + 1, row * LINE, (row + 1) * LINE, f"line {row + 1}")

    @precondition(lambda self: self._leased())
    @rule(at=pick, again=again)
    def refuse_line(self, at: int, again: bool) -> None:
        batch, lease = self.lease(at)
        if batch.row >= (batch.total or 0):
            return
        row = batch.row

        def expected() -> str:
            word = self.model.step(batch, lease.token, fresh=batch.row == row)
            if word is None:
                batch.move(row + 1)
                batch.lines[row + 1], batch.answered[row + 1] = "", "refused"
            return word or self.model.advance(batch)

        call = batches.refuse(lease, self.place(batch, row), stored_batches.REFUSAL)
        self.do(lambda: self.records.run(call), expected, again=again)

    @precondition(lambda self: self.model.lines)
    @rule(at=pick, how=st.sampled_from(("succeeded", "failed", "cancelled")))
    def end_line(self, at: int, how: str) -> None:
        job = self.some(list(self.model.lines), at)
        batch, _ = self.model.lines[job]
        if how == "cancelled":
            self.records.cancel(job, batch.caller)
        else:
            claim = self.records.claim()
            job = json.loads(self.records.client.hget(f"sl7:{claim.id}", "r"))["job"]
            self.records.settle(claim, BROKEN if how == "failed" else None)
        self.model.end_line(job, how)

    @precondition(lambda self: self._leased())
    @rule(at=pick, most=st.integers(1, 4), again=again)
    def write_rows(self, at: int, most: int, again: bool) -> None:
        """What has ended is written down, in a piece."""
        batch, lease = self.lease(at)
        found = stored_batches.answered(self.records, lease)
        expected_lines = dict(batch.answered) if batch.token == lease.token else None
        assert (None if found is None else {a.number: a.status for a in found}) == expected_lines
        numbers = tuple(sorted(expected_lines or {1: ""}))[:most]
        piece = f"{len(batch.pieces):02d}" + batch.id[-30:] * 2 + "00"
        self.do(
            lambda: self.records.run(files.touch([piece], lease.token)),
            lambda: self.model.touch(piece, lease.token),
        )
        if not numbers:
            return
        good = sum(1 for n in numbers if (expected_lines or {}).get(n) == "succeeded")

        def expected() -> str:
            word = self.model.step(batch, lease.token, fresh=numbers[0] in batch.lines)
            if word is None:
                batch.pieces.append(piece)
                self.model.uploads.pop((piece, lease.token), None)
                batch.completed, batch.failed = batch.completed + good, batch.failed + len(numbers) - good
                for number in numbers:
                    del batch.lines[number], batch.answered[number]
            return word or self.model.advance(batch)

        wrote = WrittenRows(numbers, good, len(numbers) - good, 0, Tokens(9, 3, 1), good=piece)
        self.do(lambda: self.records.run(batches.wrote(lease, wrote)), expected, again=again)

    @precondition(lambda self: self._leased())
    @rule(at=pick, again=again)
    def undo_lines(self, at: int, again: bool) -> None:
        """Of a batch that takes no more, those that were never taken."""
        batch, lease = self.lease(at)
        row, total = batch.row, batch.total or 0
        if row >= total or (batch.stage != "cancelling" and self.now + 1 < batch.expires):
            return

        def expected() -> str:
            word = self.model.step(batch, lease.token, fresh=batch.row == row)
            if word is None:
                batch.move(total)
                batch.failed += total - row
            return word or self.model.advance(batch)

        undone = UntakenLines(row * LINE, total * LINE, total)
        call = batches.wrote(lease, WrittenRows((), 0, total - row, 0, Tokens(), undone=undone))
        self.do(lambda: self.records.run(call), expected, again=again)

    @precondition(lambda self: self._leased())
    @rule(at=pick, seconds=st.sampled_from((1, 30)))
    def leave_batch(self, at: int, seconds: int) -> None:
        batch, lease = self.lease(at)

        def expected() -> str:
            word = self.model.step(batch, lease.token, fresh=True, seconds=seconds)
            if word is None:
                batch.token = ""
            return word or self.model.advance(batch)

        self.do(lambda: self.records.run(batches.renew(lease, seconds, leave=True)), expected)

    @precondition(lambda self: self._leased())
    @rule(at=pick, fails=st.sampled_from((False, False, False, True)), again=again)
    def end_batch(self, at: int, fails: bool, again: bool) -> None:
        batch, lease = self.lease(at)
        stage: Stage = "failed" if fails else "cancelled" if batch.stage == "cancelling" else "completed"
        pieces, output = list(batch.pieces), f"file-{self.records.token()}"
        if not fails:
            self.records.run(files.touch([PIECE], lease.token))
            self.model.touch(PIECE, lease.token)

        def end() -> str:
            if fails:
                return self.records.run(batches.fail(SETTINGS, lease, []))
            written = Written(output, "out", "batch_output", 5, PIECE, LIFE_S, f"upload:{lease.token}")
            call = batches.end(
                SETTINGS,
                replace(lease, batch=replace(lease.batch, stage=batch.stage)),
                output=written,
                error=None,
            )
            return self.records.run(call)

        def expected() -> str:
            word = self.model.end(batch, lease.token, stage)
            if word == "written" and not fails:
                one = OwnedFile(output, batch.caller, "batch_output", PIECE, self.now + LIFE_S * 1000)
                self.model.keep(one, lease.token)
            return word

        held = self.do(end, expected, again=again and not self._ends(batch, lease))
        orphans = self.records.run(files.mark_deleted(pieces)) if held == "written" else []
        assert set(orphans) == set(pieces) - self.model.holds().keys() if held == "written" else True

    def _ends(self, batch: OwnedBatch, lease: BatchLease) -> bool:
        """The repeat of an end says that the batch is another's."""
        return batch.token == lease.token

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        dump = self.records.dump()
        assert list(misplaced(dump)) == []
        held = {
            key.removeprefix("sl7:blob:"): {holder for holder, till in entries if till > self.now}
            for key, entries in dump.items()
            if key.startswith("sl7:blob:")
        }
        self._same({digest: who for digest, who in held.items() if who}, self.model.holds())
        for caller in ("anne", "bob"):
            page = self.records.run(files.files(caller, after=None, limit=100)) or []
            own = [one.id for one in self.model.files.values() if one.caller == caller]
            self._same([one.id for one in page], own[::-1])
            shown = self.records.run(batches.batches(caller, after=None, limit=100)) or []
            mine = [b for b in self.model.batches.values() if b.caller == caller]
            found = [(b.id, b.stage, b.total, b.row, b.completed, b.failed) for b in shown]
            self._same(found, [(b.id, b.stage, b.total, b.row, b.completed, b.failed) for b in mine[::-1]])
        taken = {whose: int(count) for whose, count in dump.get(f"sl7:taken:{LANE}", {}).items()}
        callers = [batch.caller for batch, _ in self.model.lines.values()]
        counts = {whose: callers.count(whose) for whose in set(callers)}
        self._same(taken, counts | ({"": len(callers)} if callers else {}))

    def end_all(self) -> None:
        """What is still open fails, as if its input were broken."""
        for job, (batch, _) in list(self.model.lines.items()):
            self.records.cancel(job, batch.caller)
            self.model.end_line(job, "cancelled")
        while any(batch.open for batch in self.model.batches.values()):
            self.advance(100_000)
            lease = self.records.run(batches.take(SETTINGS, self.records.token()))
            assert isinstance(lease, BatchLease)
            assert self.records.run(batches.fail(SETTINGS, lease, [])) == "written"
            self.model.batches[lease.batch.id].stage = "failed"
