"""`python -m tests.safety`: the whole corpus, not the part of it that `make test-thorough` sends."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), "--whole", "--timeout=3600", *sys.argv[1:]]))
