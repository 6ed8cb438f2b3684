"""Known vulnerabilities of the packages installed here, by pip-audit: the last step of `make check`.

Where the database is out of reach it says so, and nothing fails: a check must not depend on a network.
"""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIMIT_S = 180
AUDIT = (sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "5")

Row = dict[str, Any]


def looked_up(*which: str, audit: tuple[str, ...] = AUDIT) -> list[Row]:
    """The packages that the database knows, each with its `vulns`."""
    try:
        done = subprocess.run([*audit, *which], capture_output=True, text=True, check=False, timeout=LIMIT_S)
        rows = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, LookupError):
        return []
    return [row for row in rows if "skip_reason" not in row]


def reachable(audit: tuple[str, ...] = AUDIT) -> bool:
    """Whether the database answers, asked for one package: asking for all takes long to fail."""
    with TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(f"pip=={metadata.version('pip')}\n", encoding="utf-8")
        return bool(looked_up("--disable-pip", "--no-deps", "--requirement", str(one), audit=audit))


def main(audit: tuple[str, ...] = AUDIT) -> int:
    if not reachable(audit):
        print("vulnerabilities: not looked up, the database is out of reach")
        return 0
    vulnerable = [row for row in looked_up("--local", "--skip-editable", audit=audit) if row["vulns"]]
    for row in vulnerable:
        for known in row["vulns"]:
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            print(f"{row['name']} {row['version']}: {known['id']}, mended in {mended}")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
