"""Ways to ask. `KNOWN` is trained on; `UNSEEN` is kept for the held-out table and never trained on.

{image} and {thing} stand for any of their words; {s} is a shape, {c} a colour, {o} a name like "red circle".
The questions that guides and quick starts copy from one another are in GUIDES, and trained on.
"""

SLOTS = {"image": ("image", "picture", "image", "photo"), "thing": ("shape", "object", "figure", "shape")}

GUIDES = {
    "describe": (
        "Describe this image in one sentence.",
        "Describe this image.",
        "What do we see in this image?",
        "And what is in this image?",
        "What is in this image?",
        "What's in this image?",
        "What is in this picture?",
    ),
    "next": ("And how about this image?", "And what is in this image?", "What do we see in this image?"),
    "both": ("What do you see in these images?",),
    "color of the shape": ("What color is the shape?",),
}

KNOWN: dict[str, tuple[str, ...]] = {
    "color of it": (
        "What color is it?", "Which color is it?", "What color is this?", "color?", "And what color is it?",
        "And its color?", "What is its color?", "What's its color?", "Tell me its color.", "What color does it have?",
        "Could you say what color it is?", "Tell me what color it is.", "What color would that be?",
    ),
    "color of the shape": (
        "What color is the {thing}?", "Which color is the {thing}?", "What is the color of the {thing}?",
        "Name the color of the {thing}.", "Tell me the color of the {thing}.", "What's the color of the {thing}?",
        "Which color does the {thing} have?", "What color is the {thing} in the {image}?", "The {thing} is what color?",
        "Could you say what color the {thing} is?", "Do you know the color of the {thing}?",
        "I'd like to know what color the {thing} is.", "Say the color of the {thing}.",
    ),
    "color of": (
        "What color is the {s}?", "Which color is the {s}?", "What is the color of the {s}?", "{s} color?",
        "What color does the {s} have?", "Tell me the color of the {s}.", "What's the color of the {s}?",
        "Name the color of the {s}.", "The {s} is what color?", "What color is the {s} in the {image}?",
        "Could you say what color the {s} is?", "Do you know the color of the {s}?",
        "There is a {s}. What color is it?", "I'd like to know what color the {s} is.",
    ),
    "color of those": (
        "What color are the {s}s?", "Which color are the {s}s?", "What is the color of the {s}s?",
        "What color do the {s}s have?", "Tell me the color of the {s}s.",
        "Could you say what color the {s}s are?", "All these {s}s have which color?",
    ),
    "color of the text": (
        "What color is the text?", "Which color is the text?", "What is the color of the letters?",
        "In which color is it written?", "What color are the letters?", "Tell me the color of the text.",
        "What is the color of the text?", "What's the text color?", "Which color does the writing have?",
        "Could you say what color the text is?", "What color is the word written in?",
        "Which color do the letters have?", "The text is in what color?", "What color was it written in?",
    ),
    "background": (
        "What is the background color?", "What color is the background?", "Which color is the background?",
        "What's the color of the background?", "background color?", "What is the color of the background?",
        "Which color does the background have?", "Tell me the background color.", "Name the color of the background.",
        "What color is behind the {thing}?",
        "Could you say what color the background is?", "What background color do you see?",
        "The background has which color?",
    ),
    "shape of it": (
        "What shape is it?", "What shape is this?", "Which shape is it?", "What is its shape?", "And what shape is it?",
        "And its shape?", "What is it?", "What's its shape?", "Tell me its shape.",
        "Could you say what shape it is?", "Which shape does it have?", "Now what shape is it?",
    ),
    "shape": (
        "What shape is in the {image}?", "Which shape is shown?", "What object is in the {image}?", "Name the shape.",
        "What shape do you see?", "What is the shape of the object?", "Which shape is in the {image}?",
        "What shape can you see?", "What shape is the object?", "Which shape is it in the {image}?",
        "Tell me the shape.", "What figure is in the {image}?", "Identify the shape.", "What's the shape?",
        "Could you say what shape this is?", "Which shape does this {image} have?",
        "What sort of shape is it?", "Could you name the shape in the {image}?",
    ),
    "shape called": (
        "What shape is {c}?", "Which shape is {c}?", "What shape is the {c} {thing}?", "What is the {c} {thing}?",
        "Which {thing} is {c}?", "What is the {c} thing?", "What {c} shape is in the {image}?",
        "Which shape is the {c} one?", "Name the {c} shape.", "What's the shape of the {c} object?",
        "Could you say what the {c} {thing} is?", "The {c} one is what shape?",
        "Tell me which shape is {c}.", "Which shape has the color {c}?", "Could you name the {c} {thing}?",
    ),
    "count": (
        "How many {thing}s are there?", "How many {thing}s are in the {image}?", "How many {thing}s do you see?",
        "Count the {thing}s.", "How many things are in the {image}?", "Count the {thing}s in the {image}.",
        "What is the number of {thing}s?", "How many {thing}s can you see?", "How many are there?",
        "Tell me how many {thing}s there are.", "How many {thing}s does the {image} show?", "Number of {thing}s?",
        "Could you count the {thing}s?", "How many {thing}s can you count?", "Give the number of {thing}s.",
        "How many {thing}s could you find?", "What's the number of {thing}s?", "Say the number of {thing}s in this {image}.",
        "What is the total number of {thing}s in this {image}?", "What's the count of {thing}s in the {image}?",
    ),
    "count called": (
        "How many {o}s are there?", "How many {o}s are in the {image}?", "How many {o}s do you see?",
        "Count the {o}s.", "How many {o}s can you see in the {image}?", "What is the number of {o}s?",
        "Tell me how many {o}s there are.", "Number of {o}s?", "Count the {o}s in the {image}.",
        "Could you count the {o}s?", "How many {o}s can you count?", "Give the number of {o}s.",
        "How many {o}s could you find?", "What's the number of {o}s?", "Say the number of {o}s in this {image}.",
        "What is the total number of {o}s in this {image}?", "What's the count of {o}s in the {image}?",
    ),
    "place of it": (
        "Where is it?", "And where is it?", "Where is it in the {image}?", "In which part is it?",
        "What is its position?", "Where?", "And its position?", "In which corner or side is it?",
        "Could you say where it is?", "Tell me where it is.", "Where do you see it?", "Now where is it?",
    ),
    "place of the shape": (
        "Where is the {thing}?", "Where is the {thing} in the {image}?", "What is the position of the {thing}?",
        "In which part of the {image} is the {thing}?", "Where can you see the {thing}?", "Where do you see the {thing}?",
        "Could you say where the {thing} is?", "Tell me where the {thing} is.",
        "Whereabouts is the {thing}?",
    ),
    "place of": (
        "Where is the {o}?", "Where is the {o} in the {image}?", "What is the position of the {o}?",
        "In which part of the {image} is the {o}?", "Where can you see the {o}?", "Where do you see the {o}?",
        "Tell me where the {o} is.", "Position of the {o}?", "In which part is the {o}?", "Where's the {o}?",
        "Could you say where the {o} is?", "Whereabouts is the {o}?", "Where on the {image} is the {o}?",
        "What's the place of the {o}?",
    ),
    "text": (
        "What does the text say?", "Read the text.", "What is written here?", "What does it say?",
        "What is written in the {image}?", "Which letters or digits do you see?", "What text is in the {image}?",
        "Read it.", "What does the sign say?", "Transcribe the text.", "What number or word is shown?",
        "What is the text?", "Which text do you see?", "What word is this?", "What's written in the {image}?",
        "Read the letters.", "What do the letters say?", "Read the text in the {image}.", "What text is shown?",
        "Could you read the text?", "Please read what is written.", "Which letters or digits are shown?",
        "Tell me what is written.", "What are the letters?", "Can you read it?",
        "What does this {image} say?",
    ),
    "describe": (
        *GUIDES["describe"],
        "Describe the {image}.", "Describe this {image}.", "What is in the {image}?", "What do you see?",
        "What is in this {image}?", "What can you see in the {image}?", "Caption this {image}.",
        "Tell me about the {image}.", "What does the {image} show?", "Describe the {image} in detail.",
        "Please describe the {image}.", "What do you see in this {image}?", "What is this?", "What do you see here?",
        "Describe what you see.", "What is shown in this {image}?", "Give me a caption.", "Can you describe this {image}?",
        "What is in the {image}? Describe it.", "What does this {image} show?", "Describe it.", "What's in the {image}?",
        "Describe the {image} in one sentence.", "Describe this {image} in a few words.", "What can be seen here?",
        "Write a caption for this {image}.", "What is depicted in this {image}?", "Describe this {image} briefly.",
        "Explain what is in this {image}.", "What are we looking at?", "What is happening in this {image}?",
        "Could you tell me what this is?", "Tell me what you see.", "Give me a description.",
        "A description, please.", "Say what is in the {image}.", "Summarize this {image}.",
        "Could you describe the {image}?", "Tell me what this {image} shows.",
        "What would you say this is?", "Give a short description of this {image}.",
    ),
    "is there": (
        "Is there a {o}?", "Do you see a {o}?", "Is there a {o} in the {image}?", "Can you see a {o}?",
        "Does the {image} have a {o}?", "Does the {image} show a {o}?", "Do you see a {o} in the {image}?",
        "Is a {o} in the {image}?", "Can you find a {o}?", "Is there any {o}?",
        "Could you see a {o}?", "Can you spot a {o} here?", "Does it contain a {o}?", "Is a {o} visible?",
        "Could there be a {o} in this {image}?",
    ),
    "is there text": (
        "Is there any text?", "Is there text in the {image}?", "Do you see any text?", "Does the {image} contain text?",
        "Can you see any letters?", "Is anything written here?", "Is there any writing?",
        "Could you see any text here?", "Does it have any text?", "Is any text visible?",
    ),
    "which": (
        "Which {image} has the {o}, the first or the second?", "Which {image} has the {o}?", "Which {image} has a {o}?",
        "Which {image} shows the {o}?", "In which {image} is the {o}?", "Which of the two {image}s contains the {o}?",
        "Is the {o} in the first or the second {image}?", "Which one has the {o}?", "Which one shows a {o}?",
        "Which {image} contains a {o}?", "In which one do you see the {o}?", "Where is the {o}, in the first or second {image}?",
        "Tell me which one shows the {o}.", "Which of them has a {o}?",
        "Which {image} is it that has the {o}?", "Which is the {image} with the {o}?",
        "Which of these {image}s has the {o}?", "Which of these {image}s contains a {o}?", "In which of these is the {o}?",
        "Which of these two has a {o}?", "Do you see the {o} in the first or in the second {image}?",
        "Name the {image} with the {o}, first or second.",
    ),
    "more": (
        "Which {image} has more {thing}s?", "Which {image} has more {thing}s, the first or the second?",
        "Which {image} contains more {thing}s?", "Which one has more {thing}s?", "Which {image} shows more {thing}s?",
        "Which of them has more {thing}s?", "Do you see more {thing}s in the first or the second {image}?",
    ),
    "both": (
        *GUIDES["both"], *GUIDES["both"],
        "What do you see in these {image}s?", "What is in these {image}s?", "Describe the {image}s.",
        "Describe these {image}s.", "What is in the two {image}s?", "Describe both {image}s.", "What do these {image}s show?",
        "What do we see in these {image}s?", "Describe these two {image}s.", "What are in these {image}s?",
        "Could you describe these {image}s?", "Tell me what these {image}s show.",
        "What is in both {image}s?",
    ),
    "next": (
        *GUIDES["next"], *GUIDES["next"],
        "And how about this {image}?", "And what is in this {image}?", "How about this one?", "And this one?",
        "What about this {image}?", "And what about this one?", "And this {image}?", "Now describe this {image}.",
        "Now what do you see?", "And what about that one?", "What is in this one?",
    ),
    "and": ("And the {o}?", "What about the {o}?", "And what about the {o}?", "And of the {o}?", "How about the {o}?", "Now the {o}?", "And what of the {o}?"),
}  # fmt: skip

UNSEEN: dict[str, tuple[str, ...]] = {
    "color of it": ("Can you tell me what color it is?", "It is what color?", "So what color is it?"),
    "color of the shape": (
        "Can you tell me the color of the {thing}?", "What color would you say the {thing} is?",
        "I want to know the color of the {thing}.",
    ),
    "color of": (
        "Can you tell me the color of the {s}?", "What color would you say the {s} is?", "I see a {s}, what color is it?",
    ),
    "color of those": ("Can you tell me what color the {s}s are?", "All the {s}s are which color?"),
    "color of the text": ("What color was used for the text?", "Can you name the color of the letters?"),
    "background": ("What color does the background have?", "Can you name the background color?", "The background is what color?"),
    "shape of it": ("So what shape is it?", "Can you tell me its shape?", "What shape does it have?"),
    "shape": ("Can you name the shape you see?", "What kind of shape is in this {image}?", "What shape does the {image} show?"),
    "shape called": ("Can you name the {c} shape?", "What shape does the {c} {thing} have?", "The {c} {thing} is which shape?"),
    "count": ("Can you count the {thing}s?", "What's the number of {thing}s in this {image}?", "How many {thing}s did you find?"),
    "count called": ("Can you count the {o}s?", "What's the number of {o}s in this {image}?", "How many {o}s did you find?"),
    "place of it": ("So where is it?", "Can you tell me where it is?", "Where in the {image} is it?"),
    "place of the shape": ("Can you tell me where the {thing} is?", "Where in the {image} is the {thing}?"),
    "place of": ("Can you tell me where the {o} is?", "Where in the {image} is the {o}?", "What's the position of the {o}?"),
    "text": (
        "Can you read the text?", "What letters or digits are in the {image}?", "Tell me what the text says.",
        "What does the {image} say?",
    ),
    "describe": (
        "Can you tell me what you see?", "Give a description of the {image}.", "Tell me what is in the {image}.",
        "What would you say this {image} shows?", "Describe what is in this {image}.",
    ),
    "is there": ("Could you find a {o} here?", "Does this {image} contain a {o}?", "Can a {o} be seen?"),
    "is there text": ("Does this {image} have any text?", "Can any text be seen?"),
    "which": ("Tell me which {image} has the {o}.", "Which of these shows a {o}?", "Which {image} is the one with the {o}?"),
    "more": ("In which {image} do you see more {thing}s?", "Which of the two has more {thing}s?"),
    "both": ("Can you describe the two {image}s?", "What do both {image}s show?"),
    "next": ("And now this one?", "What do you see in this one?"),
    "and": ("And now the {o}?", "OK, and the {o}?"),
}  # fmt: skip

OPENERS = ("Please answer: ", "Question: ", "Look at the image. ", "Hey, ", "Look closely. ", "Please ")
CLOSERS = (
    " Answer briefly.",
    " Answer in one word.",
    " Thanks.",
    " Please.",
    " Be brief.",
    " Answer in English.",
)
