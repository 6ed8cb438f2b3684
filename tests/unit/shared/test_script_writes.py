"""Functions: the header of each names what it writes, so that who changes a record finds the others."""

import re

import pytest

from tests.support.functions import functions

# Of what stands in the function itself; what its helpers write is said by their names.
WRITE = re.compile(
    r"call\('(?:SET|DEL|INCR|P?EXPIRE|H(?:SET|DEL|INCRBY)|[ZS](?:ADD|REM)\w*|[LR]PUSH|XADD)', "
    r"(?:P \.\. '(\w+)|key \.\. ':(\w+)')"
)
# The audit mends whatever there is.
NAMES = sorted(functions().keys() - {"audit"})


@pytest.mark.parametrize("name", NAMES)
def test_a_function_s_header_names_the_records_that_it_writes(name: str) -> None:
    said = re.search(r"^--   writes (.*?)(?:^--   \w|\Z)", functions()[name].header, re.DOTALL | re.MULTILINE)
    written = {key or suffix for key, suffix in WRITE.findall(functions()[name].body)}
    assert written <= set(re.findall(r"\w+", said[1] if said else ""))
