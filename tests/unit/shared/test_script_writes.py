"""Scripts: the header of each names what it writes, so that whoever changes a record finds who else does."""

import re

import pytest

from shared.store.script import FOLDER

# Of what stands in the file itself; what its includes write is said by their names.
WRITE = re.compile(
    r"redis\.call\('(?:SET|DEL|INCR|P?EXPIRE|H(?:SET|DEL|INCRBY)|[ZS](?:ADD|REM)\w*|[LR]PUSH|XADD)', "
    r"(?:P \.\. '(\w+)|key \.\. ':(\w+)')"
)
# The audit mends whatever there is.
NAMES = sorted(path.stem for path in FOLDER.glob("*.lua") if path.stem != "audit")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_s_header_names_the_records_that_it_writes(name: str) -> None:
    source = (FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    said = re.search(r"^--   writes (.*?)^--(?:   \w| @)", source, re.DOTALL | re.MULTILINE)
    written = {key or suffix for key, suffix in WRITE.findall(source)}
    assert written <= set(re.findall(r"\w+", said[1] if said else ""))
