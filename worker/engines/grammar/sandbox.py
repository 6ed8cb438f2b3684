"""Tries a grammar in a child process before the worker compiles it, so that a hang or crash stays there.

llguidance limits most of its work, but not all: a few factors of `multipleOf` keep it busy forever, and a
long chain of `allOf` overflows its stack, which would end the worker.

The child is `python -m worker.engines.grammar.sandbox`: it reads a grammar from standard
input and writes to standard output why it cannot be used. It holds no secrets and imports nothing of the
project, so it takes about a tenth of a second.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

# Processor time, not waiting: a busy machine must not refuse what an idle one accepts.
LIMIT_S = 3
MEMORY_BYTES = 2**30
# A fraction of any worker thread's stack: what passes here does not overflow there.
STACK_BYTES = 2**20
START_LIMIT_S = 60
# Limits on the work before the first token, on that of each later step (about 50 ms at most), and on what is
# kept for a row (about 100 MB at most).
INITIAL_FUEL, STEP_FUEL, STATES = 300_000, 50_000, 100_000
MAX_MESSAGE = 200
# The prefix of an error in a schema inside another grammar.
INSIDE = "failed to compile JSON schema: "
TOO_COMPLEX = "it is too complex"
# Exit codes of a child that computes, recurses or takes memory without end; other signals come from outside.
GRAMMAR_FAULTS = {-signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
MESSAGES = {
    "NoExtensionBias": "no answer is of this format",
    "Parser Error: token": "the model has no token that goes on with it",
    "Unsatisfiable schema: Regex is empty": "no text is all that it asks for",
    "Unsatisfiable schema: integer interval": "no whole number lies between its bounds",
    **dict.fromkeys(
        ("panic", "lexer", "initial lexer", "fuel", "parser error", "Parser Error", "schema too large"),
        TOO_COMPLEX,
    ),
    "Unable to determine": TOO_COMPLEX,
}


class SandboxError(RuntimeError):
    """The child failed for a reason that says nothing about the grammar."""


class _Bytes:
    """A tokenizer of 256 bytes and an end token; a grammar compiles the same way with all tokenizers."""

    eos_token_id = 256
    bos_token_id = None
    tokens: Sequence[bytes] = [bytes([byte]) for byte in range(256)] + [b"<end>"]
    special_token_ids: Sequence[int] = [256]

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def compile_error(grammar: str) -> str:
    """Why this grammar cannot be used; "" if it can. Raises SandboxError."""
    try:
        child = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "worker.engines.grammar.sandbox"],
            input=grammar.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[3],
            env={name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            start_new_session=True,
            timeout=START_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise SandboxError(f"compiling a grammar did not end within {START_LIMIT_S} s") from None
    if child.returncode in GRAMMAR_FAULTS:
        return TOO_COMPLEX
    if child.returncode:
        raise SandboxError(f"compiling a grammar ended with exit code {child.returncode}")
    return child.stdout.decode()


def start_matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    """Compile the grammar and compute its first mask, the most expensive one; see `matcher_error`."""
    limits = LLParserLimits(
        initial_lexer_fuel=INITIAL_FUEL,
        step_lexer_fuel=STEP_FUEL,
        max_lexer_states=STATES,
        verbose_errors=False,
    )
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher


def matcher_error(matcher: LLMatcher) -> str:
    """The matcher's error in one line; "" if there is none."""
    lines = matcher.get_error().splitlines() or [""]
    line = next((line for line in lines if line.startswith("error: ")), lines[0]).removeprefix("error: ")
    line = line.rpartition(INSIDE)[2]
    message = next((words for start, words in MESSAGES.items() if line.startswith(start)), line)
    return message[:MAX_MESSAGE].rstrip(".:")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    grammar = sys.stdin.buffer.read().decode()
    errors: list[str] = []

    def run() -> None:
        errors.append(matcher_error(start_matcher(LLTokenizer(TokenizerWrapper(_Bytes())), grammar)))

    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    sys.stdout.buffer.write(errors[0].encode())


if __name__ == "__main__":
    main()
