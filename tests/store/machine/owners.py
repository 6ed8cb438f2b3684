"""What callers do with their files and batches, and what becomes of them with time."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.batch import Batch, BatchLease, Stage, Tokens, WrittenRows
from shared.file import Written
from shared.settings import QueueSettings, RetentionSettings, Settings
from shared.store import batches, files
from tests.store.machine.base import again, pick
from tests.store.machine.owned import (
    JOB_S,
    LEASE_S,
    LIFE_S,
    LINE,
    MAX_DEATHS,
    OwnedBatch,
    OwnedFile,
    Storage,
)
from tests.support import stored_batches
from tests.support.clock import Clock
from tests.support.invariants import misplaced
from tests.support.store import Records

T = TypeVar("T")
SETTINGS = Settings(
    queue=QueueSettings(lease_s=LEASE_S, max_deaths=MAX_DEATHS),
    retention=RetentionSettings(result_s=10_028, job_s=JOB_S),
)
FOR_EVER_MS = 60 * 86_400_000
people = st.sampled_from(("anne", "anne", "bob"))
digests = st.sampled_from(tuple(letter * 64 for letter in "abc"))
spans = st.sampled_from((1, 1, 5, 12, 35, 350, 3605, 8050, 90_020))
PIECE = "9" * 64
LASTING = re.compile(r"sl9:(lanes|lane:.*|upkeep|keys:|lost:.*|mem)$")


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
        return self.model.batches[lease.id], lease

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
            return stored_batches.create(self.records, caller, id=id, file=file, life_s=LIFE_S)[0]

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

    @rule(total=st.integers(1, 4), again=again)
    def take_batch(self, total: int, again: bool) -> None:
        """And look through its file, where nobody did."""
        token, given = self.records.token(), list[str | None]()

        def take() -> str | None:
            lease = stored_batches.try_take(self.records, token, token)
            given.append(lease.id if lease else None)
            return given[-1]

        def expected() -> str | None:
            if len(given) == 1:
                self.model.take(token, given[0])
            return given[0]

        self.do(take, expected, again=again)
        if given[0]:
            self.leases.append(BatchLease(given[0], token))
            self.begin(0, total, again=False)

    @precondition(lambda self: self._leased())
    @rule(at=pick)
    def lose_batch(self, at: int) -> None:
        """Its process is silent for too long."""
        batch, lease = self.lease(at)
        if batch.token != lease.token:
            return
        self.records.client.zadd("sl9:lease:batch", {batch.id: self.now}, xx=True)
        batch.due = self.now
        lost = set[str]()
        for _ in range(4):
            self.advance(1500)
            lost |= {id for id, _ in self.records.rescue()}
        self._same(lost, self.model.lose())

    @precondition(lambda self: self._leased())
    @rule(at=pick, total=st.integers(1, 4), again=again)
    def begin(self, at: int, total: int, again: bool) -> None:
        batch, lease = self.lease(at)

        def expected() -> str:
            if batch.token != lease.token:
                return "lost"
            batch.total = batch.total or total
            return self.model.advance(batch)

        call = batches.begin(lease, total=total, last=total * LINE)
        self.do(lambda: self.records.run(call), expected, again=again)

    def _leased(self) -> bool:
        self.leases = [lease for lease in self.leases if lease.id in self.model.batches]
        return bool(self.leases)

    def known(self, batch: OwnedBatch) -> Batch:
        found = self.records.run(batches.batch(batch.caller, batch.id))
        assert found is not None
        return found

    @precondition(lambda self: self._leased())
    @rule(at=pick, count=st.integers(1, 4), refuses=st.booleans(), again=again)
    def take_lines(self, at: int, count: int, refuses: bool, again: bool) -> None:
        """Up to the last of them, which may be refused."""
        batch, lease = self.lease(at)
        before = batch.row
        row = min(before + count, batch.total or 0)
        if not batch.open or row == before:
            return
        refused = {row: stored_batches.REFUSAL} if refuses else {}
        known = self.known(batch)
        call = batches.take(lease, known, replace(known, row=row, at=row * LINE), refused)

        def expected() -> str:
            if batch.token != lease.token:
                return "lost"
            if batch.row == before:
                batch.row = row
                batch.refused |= dict.fromkeys(refused, "")
            return self.model.advance(batch)

        self.do(lambda: self.records.run(call), expected, again=again)

    @precondition(lambda self: self._leased())
    @rule(at=pick, most=st.integers(1, 4), again=again)
    def write_rows(self, at: int, most: int, again: bool) -> None:
        """Of the next lines; those of a closed batch need not be taken."""
        batch, lease = self.lease(at)
        last = batch.total or 0 if batch.stage == "cancelling" else batch.row
        numbers = tuple(range(batch.written + 1, min(batch.written + most, last) + 1))
        if not batch.open or not numbers:
            return
        found = self.records.run(batches.known(lease, numbers))
        mine = batch.token == lease.token
        self._same(
            None if found is None else found.keys(), batch.refused.keys() & {*numbers} if mine else None
        )
        piece = f"{len(batch.pieces):02d}" + batch.id[-30:] * 2 + "00"
        self.do(
            lambda: self.records.run(files.touch([piece], lease.token)),
            lambda: self.model.touch(piece, lease.token),
        )
        good = len(numbers) - len(found or ())

        def expected() -> str:
            if batch.token != lease.token:
                return "lost"
            if batch.written < numbers[0]:
                batch.pieces.append(piece)
                self.model.uploads.pop((piece, lease.token), None)
                batch.completed, batch.failed = batch.completed + good, batch.failed + len(numbers) - good
                batch.written = numbers[-1]
                batch.refused = {n: "" for n in batch.refused if n not in numbers}
            return self.model.advance(batch)

        wrote = WrittenRows(
            numbers, numbers[-1] * LINE, good, len(numbers) - good, 0, Tokens(9, 3, 1), good=piece
        )
        call = batches.write(lease, self.known(batch), wrote)
        self.do(lambda: self.records.run(call), expected, again=again)

    @precondition(lambda self: self._leased())
    @rule(at=pick, seconds=st.sampled_from((1, 30)))
    def leave_batch(self, at: int, seconds: int) -> None:
        batch, lease = self.lease(at)

        call = batches.give_back(SETTINGS, lease, seconds)
        self.do(lambda: self.records.run(call), lambda: self.model.leave(batch, lease.token, seconds))

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
            return self.records.run(
                batches.end(SETTINGS, lease, self.known(batch), output=written, error=None)
            )

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
            key.removeprefix("sl9:blob:"): {holder for holder, till in entries if till > self.now}
            for key, entries in dump.items()
            if key.startswith("sl9:blob:")
        }
        self._same({digest: who for digest, who in held.items() if who}, self.model.holds())
        for caller in ("anne", "bob"):
            page = self.records.run(files.files(caller, after=None, limit=100)) or []
            own = [one.id for one in self.model.files.values() if one.caller == caller]
            self._same([one.id for one in page], own[::-1])
            shown = self.records.run(batches.batches(caller, after=None, limit=100)) or []
            mine = [b for b in self.model.batches.values() if b.caller == caller]
            found = [(b.id, b.stage, b.total, b.row, b.written, b.completed, b.failed) for b in shown]
            self._same(
                found, [(b.id, b.stage, b.total, b.row, b.written, b.completed, b.failed) for b in mine[::-1]]
            )

    def end_all(self) -> None:
        """What is still open fails, as if its input were broken."""
        for batch in [batch for batch in self.model.batches.values() if batch.open]:
            lease = BatchLease(batch.id, batch.token)
            if not batch.token:
                self.advance(100_000)
                lease = stored_batches.take(self.records)
            assert self.records.run(batches.fail(SETTINGS, lease, [])) == "written"
