"""Questions made from clauses by English grammar, beside the lists of `phrases.py`.

"what color | it is" comes out as "Tell me what color it is.", "What color do you think it is?" and, as an
echo, "It is what color?". With lists alone a model goes by the words that a question begins with.
"""

import random

IF = ("if", "whether")
FRAMES = (
    "Tell me {q}.", "Tell us {q}.", "Say {q}.", "Please say {q}.", "Could you say {q}?", "Do you know {q}?",
    "I'd like to know {q}.", "I wonder {q}.", "Any idea {q}?", "Let me know {q}.", "I need to know {q}.",
    "Could you find out {q}?", "Write down {q}.", "I am asking {q}.", "Just say {q}.", "You know {q}?",
)  # fmt: skip
THOUGHTS = ("do you think", "do you suppose", "do you believe", "would you guess")

# A question word, and the rest in the order of a statement.
CLAUSES: dict[str, tuple[str, ...]] = {
    "color of it": (
        "what color | it is", "which color | it has", "what color | this is", "what color | that one is",
        "which color | this one has",
    ),
    "color of the shape": (
        "what color | the {thing} is", "which color | the {thing} has", "what color | this {thing} is",
    ),
    "color of": ("what color | the {s} is", "which color | the {s} has", "which color | this {s} is"),
    "color of those": ("what color | the {s}s are", "which color | the {s}s have"),
    "color of the text": (
        "what color | the text is", "which color | the letters have", "what color | the writing is in",
        "which color | the text has",
    ),
    "background": ("what color | the background is", "which color | the background has"),
    "shape of it": (
        "what shape | it is", "which shape | it has", "what shape | this is", "what shape | that one is",
        "which shape | this one has",
    ),
    "shape": ("what shape | the {image} has", "which shape | this is", "what shape | you see"),
    "shape called": (
        "what shape | the {c} {thing} is", "which shape | the {c} one has", "what | the {c} {thing} is",
    ),
    "count": (
        "how many {thing}s | there are", "how many {thing}s | the {image} has", "how many {thing}s | you see",
    ),
    "count called": (
        "how many {o}s | there are", "how many {o}s | the {image} has", "how many {o}s | you see",
    ),
    "place of it": (
        "where | it is", "in which part | it is", "where | this one is", "in which corner or side | it is",
    ),
    "place of the shape": (
        "where | the {thing} is", "in which part | the {thing} is", "where | this {thing} is",
    ),
    "place of": ("where | the {o} is", "in which part | the {o} is", "where | you see the {o}"),
    "text": ("what | the text says", "what | it says", "which letters | you see", "what | the sign says"),
    "describe": ("what | you see", "what | the {image} shows", "what | this {image} shows", "what | this is"),
    "is there": ("if | there is a {o}", "whether | the {image} has a {o}", "if | you see a {o}"),
    "is there text": (
        "if | there is any text", "whether | the {image} has letters", "if | you see any text",
    ),
    "which": (
        "which {image} | has the {o}", "which one | shows the {o}", "which of the {image}s | has a {o}",
    ),
    "more": ("which {image} | has more {thing}s", "which one | shows more {thing}s"),
}  # fmt: skip
# In these the question word is the subject, so the order never changes.
_SUBJECT = ("which", "more")


def turned(rng: random.Random, way: str) -> str:
    """One wording of a question, with the same slots for names as in the lists."""
    asked, rest = rng.choice(CLAUSES[way]).split(" | ")
    chance = rng.random()
    if chance < 0.45 or (chance >= 0.65 and way in _SUBJECT):
        return rng.choice(FRAMES).replace("{q}", f"{asked} {rest}")
    if chance < 0.65:
        thought = rng.choice(THOUGHTS)
        return _begun(f"{thought} {rest}?" if asked in IF else f"{asked} {thought} {rest}?")
    return _begun(f"{rest}?" if asked in IF else f"{rest} {asked}?")


def _begun(question: str) -> str:
    return question[0].upper() + question[1:]
