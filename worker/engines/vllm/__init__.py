"""The engine that runs vLLM, with our prompts, formats and queue.

What is vLLM started with? `engine.py` (`arguments`).
Which parameters are refused? `sampling.py` (`check`).
How does an answer go on after its published text? `logits_processors.py` (`AnswerProcessorV2`).
"""
