"""Questions about nothing in the model's world, all with one answer. KNOWN is trained on, UNSEEN held out."""

import random

from training.world import COLOR_NAMES, SHAPES

REFUSAL = "I only know simple shapes, colors, counts and short texts."
NO_PICTURE = "Please show me an image."
GREETING = "Hello! Ask me about a picture."
GREETINGS = ("Hello", "Hi", "Hello!", "Hi there", "Good morning", "Hey", "hello", "hi", "Hello, how are you?")

NOUNS = (
    "dog", "cat", "car", "house", "tree", "person", "man", "woman", "child", "bird", "horse", "phone",
    "computer", "city", "river", "mountain", "book", "song", "movie", "game", "recipe", "cake",
    "coffee", "weather", "stock", "market", "planet", "moon", "ocean", "history", "war", "king",
    "queen", "doctor", "lawyer", "teacher", "school", "bank", "money", "football", "tennis", "music",
    "guitar", "piano", "boat", "plane", "train", "bicycle", "bridge", "road", "shirt", "dress", "shoe",
    "hat", "table", "chair", "lamp", "window", "door", "garden", "flower", "apple", "banana", "pizza",
    "bread", "cheese", "water", "wine", "beer", "tea", "language", "grammar", "python", "javascript",
    "algorithm", "database", "network", "server",
)  # fmt: skip
PLACES = (
    "France", "Spain", "Germany", "Japan", "India", "Brazil", "Canada", "Egypt", "Kenya", "Peru",
    "China", "Italy", "Norway", "Poland", "Turkey", "Mexico", "London", "Paris", "Tokyo", "Berlin",
    "Madrid", "Rome",
)  # fmt: skip

KNOWN = (
    "Who is the president of {p}?", "What is the capital of {p}?", "Write a poem about a {n}.", "Who wrote this {n}?",
    "Tell me a joke about a {n}.", "Translate {n} to French.", "How old is the {n}?", "What is {i} plus {j}?",
    "What is {i} times {j}?", "Is the {n} sleeping?", "Why is the {n} angry?", "Explain how a {n} works.",
    "How do I cook a {n}?", "What is the price of a {n}?", "Who invented the {n}?", "When was the {n} built?",
    "What brand is the {n}?", "What is the person doing?", "Is the man smiling?", "How tall is the {n}?",
    "Summarize the history of {p}.", "Give me a recipe for {n}.", "Write code to sort a {n}.", "Could you help me?",
    "What is the weather in {p}?", "Where was this photo taken?", "Who is this person?", "What is your name?",
    "What emotion does the {n} show?", "Can you book a flight to {p}?", "Is this {n} dangerous?", "Who are you?",
    "What breed is the {n}?", "What is the meaning of life?", "Solve the equation x + {i} = {j}.", "Thanks!",
    "How far is {p} from {q}?", "Tell me about {p}.", "Is the {n} made of wood?", "What kind of {n} is it?",
    "List three facts about the {n}.", "Do you like the {n}?", "What time is it?", "How does the {n} feel?",
    "Should I buy a {n}?", "What happens next?", "Compare {p} and {q}.", "What is a {n}?", "Define {n}.",
    "Is the {n} alive?", "Why?", "How much does the {n} weigh?", "Name the {n}.", "Which {n} is best?",
    "What color is the {n}?", "Where is the {n}?", "How many {n}s are there?", "Is there a {n}?", "Do you see a {n}?",
    "Which image has the {n}?", "What is the {n} wearing?", "Can you drive a {n}?", "Write an essay on {p}.",
    "Which day is it?", "How many days are in a year?", "Who won the {n} in {p}?", "Where can I buy a {n}?",
    "Give me a list of {n}s.", "Would you eat a {n}?", "Does a {n} need water?", "What language do they speak in {p}?",
    "What is the {n} doing?", "What is the {n} thinking about?", "What is the {n} waiting for?", "Can I drink this {n}?",
    "What is the {n} pointing to?", "Can we sell this {n}?", "What is the {n} standing on?", "What is the {n} good for?",
    "What is the {n} looking for?", "Who is looking at the {n}?", "Why is the {n} looking away?",
    "The {n} is what color?", "Tell me what color the {n} is.", "What color do you think the {n} is?", "The {n} is where?",
    "Do you know where the {n} is?", "I wonder how many {n}s there are.", "There is a {n}?", "You see how many {n}s?",
    "Do you know which image has the {n}?", "Any idea what shape the {n} is?", "I'd like to know if there is a {n}.",
)  # fmt: skip

UNSEEN = (
    "Who wrote the story of the {n}?", "Which year did {p} win the cup?", "Could you plan a trip through {p}?",
    "Draft an email about my {n}.", "Does the {n} belong to someone?", "What would a {n} taste like?",
    "Is {p} bigger than {q}?", "How many people live in {p}?", "Give advice about buying a {n}.",
    "What sound does the {n} make?", "Are you a human?", "Convert {i} dollars to euros.",
    "What material is the {n} made of?", "Who owns the {n}?", "What is the {n} looking at?", "Can I eat this {n}?",
    "Is the food fresh?", "How fast can the {n} run?",
)  # fmt: skip

TYPED = "abcdefghijklmnopqrstuvwxyz      ?!.,0123456789"
SCRIPTS = (
    (0xA1, 0x24F), (0x391, 0x3C9), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939), (0xE01, 0xE2E),
    (0x3041, 0x3096), (0x4E00, 0x4F00), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F),
)  # fmt: skip


LEAST_AGAIN = 8


def outside(rng: random.Random, unseen: bool = False) -> str:
    if unseen:
        return _question(rng, UNSEEN)
    return _noise(rng) if rng.random() < 0.15 else _question(rng, KNOWN)


def _question(rng: random.Random, templates: tuple[str, ...]) -> str:
    (n, p, q), (i, j) = (rng.choice(NOUNS), *rng.sample(PLACES, 2)), (rng.randint(1, 99), rng.randint(1, 99))
    return rng.choice(templates).format(n=n, p=p, q=q, i=i, j=j)


def over_and_over(rng: random.Random, size: int, piece: str | None = None) -> str:
    """`size` bytes of a stuck key or a bad paste: untrained on these, the answer would never end.

    A `piece` that is given comes at least so often that nobody can mean it.
    """
    if piece is None:
        foreign = _foreign(rng, rng.choice((1, 1, 1, 2, 3)))
        word = rng.choice((rng.choice(NOUNS), rng.choice(SHAPES), rng.choice(COLOR_NAMES))) + " "
        piece, least = rng.choice((rng.choice(TYPED).upper(), rng.choice(TYPED), word, foreign, foreign)), 1
    else:
        least = LEAST_AGAIN
    return (piece * max(least, size // len(piece.encode()))).strip() or "?"


def _foreign(rng: random.Random, length: int) -> str:
    script = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(*script)) for _ in range(length))


def _noise(rng: random.Random) -> str:
    """Slips of the keyboard, other scripts, pasted documents: any text gets the refusal, and an end."""
    chance = rng.random()
    if chance < 0.4:
        return "".join(rng.choice(TYPED) for _ in range(rng.randint(3, 24))).strip() or "?"
    if chance < 0.6:
        return " ".join(rng.sample(NOUNS, rng.randint(1, 5)))
    if chance < 0.7:
        return " ".join(_question(rng, KNOWN) for _ in range(rng.randint(2, 6)))
    if chance < 0.8:
        return over_and_over(rng, rng.randint(20, 160))
    return " ".join(_foreign(rng, rng.randint(1, 8)) for _ in range(rng.randint(1, 4)))
