"""OpenAI's batches: each line of a file becomes a job, each answer a line of the output.

How does a line become a job? `intake.py` (`_admit`).
Which process works on a batch, and for how long? `runner.py` (`BatchRunner`).
In what order are rows written, and when do they become a file? `output.py` (`OutputWriter`).
"""
