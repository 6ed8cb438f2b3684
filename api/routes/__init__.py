"""The paths, one file for each family: a handler reads, calls one service and answers.

What answers POST /v1/chat/completions? `completions.py` (`chat_completions`).
What answers a path that is a model's id? `hf.py` (`ask_model`).
When is a process ready? `health.py` (`ready`).
How does a response go on from an earlier one? `responses.py` (`_with_earlier_turns`).
"""
