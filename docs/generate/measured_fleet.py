"""The tables of `fleet` on the page of measurements."""

from typing import Any

from docs.generate.tables import rows_of

FLEETS = (
    "workers",
    "answers",
    "work",
    "jobs/s",
    "Redis's core",
)
MILLS = ("answers", "jobs/s", "Redis's core", "a whole core would do", "processor time a job")


def tables(found: dict[str, Any]) -> str:
    """Fleets by size, then Redis alone."""
    fleets = [
        (
            str(row["workers"]),
            row["way"],
            _share(row["efficiency"]),
            f"{row['jobs_per_s']:,.1f}",
            _share(row["redis"]),
        )
        for row in found["fleets"]
    ]
    mills = [
        (
            row["way"],
            f"{row['jobs_per_s']:,.0f}",
            _share(row["redis"]),
            f"{row['full_per_s']:,.0f} jobs/s",
            f"{row['redis_us_per_job']:,.0f} µs",
        )
        for row in found["mills"]
    ]
    return rows_of(FLEETS, fleets) + rows_of(MILLS, mills)


def _share(part: float) -> str:
    return f"{part:.1%}"
