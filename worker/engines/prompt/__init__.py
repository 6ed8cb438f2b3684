"""From a request to the model's inputs: chat templates, picture tokens, the budget of tokens.

How does a chat become tensors? `renderer.py` (`Renderer`).
What keeps a caller from writing special tokens? `chat_template.py` (`Reserved`).
How long may an answer be? `budget.py` (`answer_budget`).
"""
