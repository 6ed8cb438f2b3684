"""What is asked of both sides: the `echo` engine answers with the question, a word each STEP_S."""

MODEL = "bench/paced"
STEP_S = 0.1
"""Our streams send at most ten events a second, so at this pace each word is an event of its own."""


def question(name: str, words: int) -> str:
    """So many words, like no other question: an answer from the cache would be one event."""
    return " ".join([name, *(f"word{number}" for number in range(1, words))])


def words_of(text: str) -> list[str]:
    return text.split()
